package webhook

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/webhook/webhooktest"
)

// An operator reads verbosity 0. A handler that panics must be found there; that
// somebody's connection broke must not.
func TestAPanicIsInTheLogThatOperatorsRead(t *testing.T) {
	for name, http2 := range map[string]bool{"over HTTP/1.1": false, "over HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			var log webhooktest.Log
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("index out of range") }))
			server.Config.ErrorLog = newErrorLog(log.Logger(0))
			server.EnableHTTP2 = http2
			server.StartTLS()
			defer server.Close()
			// A client that does not trust the certificate.
			if conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{RootCAs: nil, ServerName: "x"}); err == nil {
				_ = conn.Close()
				t.Fatal("the handshake succeeds")
			}
			if response, err := server.Client().Get(server.URL); err == nil {
				_ = response.Body.Close()
				t.Fatal("a panic is answered")
			}
			for end := time.Now().Add(10 * time.Second); log.String() == ""; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("nothing is in the log")
				}
			}
			text := log.String()
			if !strings.Contains(text, "panic serving") || !strings.Contains(text, "index out of range") || !strings.Contains(text, `"error"=`) {
				t.Errorf("the panic is not an error in the log: %s", text)
			}
			if strings.Contains(text, "Connection failed") {
				t.Errorf("a broken connection is in the log, too: %s", text)
			}
		})
	}
}

func TestABrokenConnectionIsInTheLogOfThoseWhoLook(t *testing.T) {
	var log webhooktest.Log
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = newErrorLog(log.Logger(1))
	server.StartTLS()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("not TLS at all\n")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "Connection failed"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is not: %s", log.String())
		}
	}
}
