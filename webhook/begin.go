package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/reanchor/reanchor/bundle"
)

// askTimeout bounds one question to the API server before anything is watched.
const askTimeout = 5 * time.Second

// pauses are those between two attempts to ask. The last, about 5 s, is how much
// later than its API server a replica comes up at most.
func pauses() wait.DelayFunc {
	return wait.Backoff{Duration: 250 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 10, Cap: 4500 * time.Millisecond}.DelayFunc()
}

// work does all that needs the API server until the context ends. Nothing is
// written, not even a caBundle, before it is known to be new enough.
func (s *Server) work(ctx context.Context) error {
	if err := s.patiently(ctx, func(ctx context.Context) error { return CheckVersion(ctx, s.discovery) }); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.keeper.Run(ctx) })
	group.Go(func() error {
		if err := s.patiently(ctx, s.watcher.Open); err != nil {
			return err
		}
		return s.watcher.Run(ctx)
	})
	return group.Wait()
}

// patiently asks until there is an answer. After a power cut all replicas may be
// up long before their API server. If they ended, they would come back when the
// kubelet restarts them, which can be five minutes after it, and no meshed pod
// could be created until then. An error that does not go by itself is returned;
// at the end of the context there is none.
func (s *Server) patiently(ctx context.Context, ask func(context.Context) error) error {
	err := pauses().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		err := ask(ctx)
		if err == nil || ctx.Err() != nil || !passes(err) {
			s.waiting.Store(nil)
			return true, err
		}
		why := explain(err)
		if before := s.waiting.Swap(&why); before == nil || *before != why {
			s.options.Log.Info("The API server cannot be asked yet, trying again", "error", why)
		}
		return false, nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// passes reports whether an error may go by itself: the API server, or the way to
// it, is down or starting. While it starts it refuses everybody whose role it has
// not read yet, and does not know the kinds of CRDs; both may be applied after
// this replica, too.
func passes(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		code := status.Status().Code
		return code >= http.StatusInternalServerError || code == http.StatusTooManyRequests ||
			code == http.StatusUnauthorized || code == http.StatusForbidden
	}
	var network *net.OpError // refused, reset, no route, no such host
	return errors.As(err, &network) || utilnet.IsTimeout(err) || utilnet.IsProbableEOF(err) ||
		utilnet.IsHTTP2ConnectionLost(err) || meta.IsNoMatchError(err)
}

// explain adds the status of an answer, whose text may be no more than "unknown".
func explain(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return fmt.Sprintf("%v (HTTP status %d)", err, status.Status().Code)
	}
	return err.Error()
}

// unread says why there is no snapshot yet.
func (s *Server) unread() error {
	if why := s.waiting.Load(); why != nil {
		return fmt.Errorf("the API server cannot be asked yet: %s", *why)
	}
	return errors.New("the MeshTrusts, AnchorRotations and namespaces have not all been read yet: are Reanchor's CRDs installed?")
}

// warningLog writes what API servers warn of to the log, unless it quotes a
// certificate or a key, as the webhook of a policy may that warns of our Secret.
type warningLog struct{ log logr.Logger }

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w warningLog) HandleWarningHeaderWithContext(_ context.Context, code int, _, text string) {
	const miscellaneous = 299 // the one code that API servers use
	if code != miscellaneous || text == "" {
		return
	}
	if bundle.QuotesPEM(text) {
		text = "left out, since it quotes a certificate or a key"
	}
	w.log.Info("The API server warns", "warning", text)
}
