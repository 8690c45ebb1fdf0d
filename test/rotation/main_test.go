package rotation

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/reanchor/reanchor/hack/local"
	"github.com/reanchor/reanchor/test/audit"
)

func TestMain(m *testing.M) {
	flag.Parse()
	const all = "1000" // scenarios have their turns, see sideBySide
	if err := flag.Set("test.parallel", all); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctrl.SetLogger(logr.Discard()) // clients ask for one
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, remove, err := local.TempDir()
	if err != nil {
		return 1, err
	}
	defer remove()
	for _, c := range clusters {
		c.dir = dir
	}
	code = m.Run()
	for _, c := range clusters {
		if code != 0 {
			c.report()
		}
		err = errors.Join(err, c.stop())
	}
	if code == 0 && err == nil && audit.EveryTest() {
		err = leastPrivilege()
	}
	return code, err
}
