package review_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/reanchor/reanchor/webhook/review"
)

// allocated is how much memory the function asks for in all, in bytes.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// Whoever reaches the webhook's port sends what they like, and it must not be the
// memory of a replica that ends it.
func TestATextAsksForLittleMemory(t *testing.T) {
	const size = 255 << 10
	fill := func(before, element, after string) string {
		return before + many(element, (size-len(before)-len(after))/(len(element)+1)) + after
	}
	of := func(spec, element string) string {
		before, after, _ := strings.Cut(spec, "...")
		return fill(`{"request":{"object":{"spec":{`+before, element, after+`}}}}`)
	}
	for name, text := range map[string]string{
		"empty containers":         of(`"containers":[...]`, `{}`),
		"no containers":            of(`"containers":[...]`, `null`),
		"init containers":          of(`"initContainers":[...]`, `{}`),
		"variables":                of(`"containers":[{"env":[...]}]`, `{}`),
		"variables of containers":  of(`"containers":[...]`, `{"env":[{},{},{},{}]}`),
		"references":               of(`"containers":[{"env":[...]}]`, `{"valueFrom":{}}`),
		"escaped variables":        of(`"containers":[{"env":[...]}]`, `{"value":"\n"}`),
		"mounts":                   of(`"containers":[{"volumeMounts":[...]}]`, `{}`),
		"objects of variables":     of(`"containers":[{"envFrom":[...]}]`, `{"secretRef":{}}`),
		"volumes of nothing":       of(`"volumes":[...]`, `{}`),
		"volumes of Secrets":       of(`"volumes":[...]`, `{"secret":{}}`),
		"projected Secrets":        of(`"volumes":[{"projected":{"sources":[...]}}]`, `{"secret":{}}`),
		"objects of a few members": fill(`{"x":[`, `{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":0,"n":0,"o":0,"p":0,"q":0,"r":0,"s":0,"t":0,"u":0,"v":0,"w":0,"x":0,"y":0}`, `]}`),
		"many members":             `{"x":{` + manyMembers(size/11) + `}}`,
		"deep lists":               fill(`{"x":[`, strings.Repeat("[", 150)+strings.Repeat("]", 150), `]}`),
	} {
		t.Run(name, func(t *testing.T) {
			if len(text) < size*9/10 || len(text) > size {
				t.Fatalf("the text has %d bytes", len(text))
			}
			n := allocated(func() { _, _ = review.Parse(text) })
			if n > 16*len(text) {
				t.Errorf("%d bytes of text ask for %d bytes, %d times as many", len(text), n, n/len(text))
			}
		})
	}
}

func TestAPodOfAsManyAsMayBeIsRead(t *testing.T) {
	for name, shape := range map[string]string{
		"containers": `"spec":{"initContainers":[` + many(`{}`, 24) + `],"containers":[` + many(`{"name":"a"}`, review.MaxContainers-24) + `]}`,
		"entries": `"spec":{"containers":[{"env":[` + many(`{}`, review.MaxVariables-1) + `]},{"env":[{"name":"last"}],"volumeMounts":[` + many(`{"name":"v"}`, review.MaxMounts) +
			`],"envFrom":[` + many(`{"configMapRef":{"name":"c"}}`, review.MaxObjects-review.MaxVolumes) + `]}],"volumes":[` + many(`{"secret":{"secretName":"s"}}`, review.MaxVolumes) + `]}`,
		"volumes that show nothing": `"spec":{"volumes":[` + many(`{"name":"e","emptyDir":{}}`, 2*review.MaxVolumes) + `]}`,
	} {
		text := wrap(`"metadata":{},` + shape)
		want, err := reference(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := review.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTooManyIsNoDenialButAnErrorOfItsOwn(t *testing.T) {
	if _, err := review.Parse(bad["more containers than may be"].text); !errors.Is(err, review.ErrTooMany) || errors.Is(err, review.ErrNotAPod) {
		t.Errorf("%v", err)
	}
}

// Texts that each grow another part of the memory must not add up.
func TestWhatAParserKeepsDoesNotAddUp(t *testing.T) {
	var p review.Parser
	if _, err := p.Parse(wrap(`"metadata":{},` + `"spec":{"containers":[{"env":[{},{}],"volumeMounts":[{}]}]}`)); err != nil || !p.Light() {
		t.Fatalf("a usual pod is not light: %v", err)
	}
	grown := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := grown()
	for i := range 200 {
		text := wrap(fmt.Sprintf(`"metadata":{},"spec":{"containers":[%s,{"env":[%s],"volumeMounts":[%[2]s]}]}`, many(`{}`, i+1), many(`{}`, 4000)))
		if _, err := p.Parse(text); err != nil {
			t.Fatal(err)
		}
	}
	if n := grown() - before; n > 2<<20 {
		t.Errorf("it keeps %d bytes", n)
	}
	if p.Light() {
		t.Error("it says that it keeps little")
	}
	runtime.KeepAlive(&p)
}
