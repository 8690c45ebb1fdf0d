package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// maxAnswer is more than any object of etcd, which takes 1.5 MB, base64 included.
const maxAnswer = 4 << 20

// Backdate gives a custom resource another creation time, which the API server
// lets nobody do, so that a test need not wait until an object is as old as a rule
// asks. It writes to etcd, whose watchers see it as any other change: a new
// resourceVersion, and nothing else is different. It overwrites no change that is
// made at the same time: it tries again until ctx ends. The API's times are whole
// seconds. Objects of Kubernetes' own kinds are stored in another form, and
// refused.
func (l *Lab) Backdate(ctx context.Context, kind schema.GroupResource, name types.NamespacedName, created time.Time) error {
	// As the API server names them: /registry/GROUP/PLURAL[/NAMESPACE]/NAME.
	key := path.Join("/registry", kind.Group, kind.Resource, name.Namespace, name.Name)
	for {
		done, err := l.backdate(ctx, key, created)
		if err != nil {
			return fmt.Errorf("backdating %s %s: %w", kind, path.Join(name.Namespace, name.Name), err)
		}
		if done {
			return nil
		}
	}
}

// backdate tries once, and reports whether nobody else wrote meanwhile.
func (l *Lab) backdate(ctx context.Context, key string, created time.Time) (bool, error) {
	was, err := l.stored(ctx, key)
	if err != nil {
		return false, err
	}
	value, err := backdated(was.Value, created)
	if err != nil {
		return false, err
	}
	return l.replace(ctx, was, value)
}

// backdated changes the creation time in an object's JSON.
func backdated(value []byte, created time.Time) ([]byte, error) {
	var object map[string]any
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber() // a float64 would round large integers
	if err := decoder.Decode(&object); err != nil {
		return nil, fmt.Errorf("reading what etcd holds, which is JSON for custom resources only: %w", err)
	}
	metadata, ok := object["metadata"].(map[string]any)
	if !ok {
		return nil, errors.New("reading what etcd holds: the object has no metadata")
	}
	metadata["creationTimestamp"] = created.UTC().Format(time.RFC3339)
	return json.Marshal(object)
}

// entry is a key of etcd and its value. In the JSON of etcd's gateway bytes are
// base64, and 64-bit integers are strings.
type entry struct {
	Key         []byte `json:"key"`
	Value       []byte `json:"value"`
	ModRevision int64  `json:"mod_revision,string"`
}

func (l *Lab) stored(ctx context.Context, key string) (entry, error) {
	var answer struct {
		Found []entry `json:"kvs"`
	}
	if err := l.askEtcd(ctx, "range", map[string]any{"key": []byte(key)}, &answer); err != nil {
		return entry{}, err
	}
	if len(answer.Found) != 1 {
		return entry{}, fmt.Errorf("etcd holds no %s", key)
	}
	return answer.Found[0], nil
}

// replace writes a value in the place of one that was read, and reports whether
// that was still there.
func (l *Lab) replace(ctx context.Context, was entry, value []byte) (bool, error) {
	request := map[string]any{
		"compare": []any{map[string]any{
			"key": was.Key, "target": "MOD", "result": "EQUAL", "mod_revision": fmt.Sprint(was.ModRevision),
		}},
		"success": []any{map[string]any{"request_put": map[string]any{"key": was.Key, "value": value}}},
	}
	var answer struct {
		Succeeded bool `json:"succeeded"`
	}
	err := l.askEtcd(ctx, "txn", request, &answer)
	return answer.Succeeded, err
}

// askEtcd calls a method of etcd's key-value service by its HTTP gateway
// (https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/).
func (l *Lab) askEtcd(ctx context.Context, method string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encoding a request to etcd: %w", err)
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/v3/kv/%s", l.layout.ports.etcd, method)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("making a request to etcd: %w", err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("asking etcd: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking etcd: %s answers %s", url, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("reading etcd's answer: %w", err)
	}
	return nil
}
