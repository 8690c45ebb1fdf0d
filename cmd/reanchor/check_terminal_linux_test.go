package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// terminal is a pseudo terminal of 80 columns: what is written to tty is read
// from screen.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	control := func(request uintptr, argument unsafe.Pointer) {
		t.Helper()
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), request, uintptr(argument)); errno != 0 {
			t.Fatalf("ioctl %#x: %v", request, errno)
		}
	}
	var number, unlock int32
	control(syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	control(syscall.TIOCGPTN, unsafe.Pointer(&number))
	size := [4]uint16{24, 80}
	control(syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return screen, tty
}

// shown is what `reanchor check` puts on a terminal.
func shown(t *testing.T, args ...string) string {
	t.Helper()
	t.Setenv("COLUMNS", "")
	screen, tty := terminal(t)
	text := make(chan string)
	go func() {
		all, _ := io.ReadAll(screen) // ends with an error when nobody holds the terminal any more
		text <- string(all)
	}()
	if err := run(t.Context(), append([]string{"check", "--no-processes", "--termination-log", "/nowhere"}, args...), streams{tty, io.Discard}); exitCode(err) != 2 {
		t.Errorf("exit code %d, want 2", exitCode(err))
	}
	tty.Close()
	return <-text
}

func TestColourIsForTerminalsAlone(t *testing.T) {
	file := caFile(t, -time.Hour)
	const red = "\x1b[31;1mEXPIRED\x1b[0m"
	for _, c := range []struct {
		when, noColor string
		args          []string
		want          bool
	}{
		{"on a terminal", "", nil, true},
		{"with NO_COLOR", "1", nil, false},
		{"with NO_COLOR, whatever it says", "false", nil, false},
		{"with --no-color", "", []string{"--no-color"}, false},
		{"wide", "", []string{"-o", "wide"}, true},
	} {
		t.Setenv("NO_COLOR", c.noColor)
		got := shown(t, append(c.args, file)...)
		if strings.Contains(got, red) != c.want || strings.Contains(got, "\x1b") != c.want || !strings.Contains(got, "EXPIRED") {
			t.Errorf("%s: want colour %t, got %q", c.when, c.want, got)
		}
	}
	t.Setenv("NO_COLOR", "")
	if got := check(t, file); strings.Contains(got.out, "\x1b") || !strings.Contains(got.out, "EXPIRED") {
		t.Errorf("colour in a pipe: %q", got.out)
	}
}

func TestATableFitsItsTerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	file := caFile(t, -time.Hour)
	// On 80 columns a path has a line of its own.
	if got := shown(t, file); !strings.Contains(got, "ISSUER\r\nEXPIRED") || !strings.Contains(got, "\r\n    "+file+"\r\n") {
		t.Errorf("got %q", got)
	}
	if got := check(t, file).out; !strings.Contains(got, "LOCATION\n") {
		t.Errorf("in a pipe, a certificate is one line: %q", got)
	}
}
