package main

import "net/http"

// writesOnce takes from the answer to a write when to come back. The client would
// sleep until then and write again, ten times, within one call: an overloaded API
// server, or one that has not processed a PodDisruptionBudget yet, would get writes
// minutes after it was decided on them, whatever somebody has said since, such as
// suspend. What is still wanted is written at a later look.
func writesOnce(inner http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		answer, err := inner.RoundTrip(request)
		if answer != nil && request.Method != http.MethodGet {
			answer.Header.Del("Retry-After")
		}
		return answer, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
