package anchorrotation

import (
	"sync"
	"time"
)

// answerHolds is for how long an answer of the API server is taken for granted
// that costs many requests, is asked for at every look, and lets nothing pass: that
// rights are missing, and that a kind is not served.
const answerHolds = 30 * time.Second

// lately remembers such answers. Its zero value is ready.
type lately[K comparable, V any] struct {
	mu      sync.Mutex
	answers map[K]answer[V]
}

type answer[V any] struct {
	value V
	at    time.Time
}

// get returns the answer, if there was one a moment ago. A clock that was set back
// makes it an old one.
func (l *lately[K, V]) get(key K, now time.Time) (V, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.answers[key]
	age := now.Sub(a.at)
	return a.value, ok && age >= 0 && age < answerHolds
}

func (l *lately[K, V]) set(key K, value V, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answers == nil {
		l.answers = map[K]answer[V]{}
	}
	l.answers[key] = answer[V]{value, now}
}

func (l *lately[K, V]) forget(key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.answers, key)
}
