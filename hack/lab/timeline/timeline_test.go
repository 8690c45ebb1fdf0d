package timeline

import (
	"testing"
	"time"
)

func TestAt(t *testing.T) {
	start := time.Unix(1000, 0)
	second := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	var line Timeline[string]
	if _, known := line.At(start); known {
		t.Error("an empty timeline knows something")
	}
	line.Record(second(10), "a")
	line.Record(second(20), "b")
	line.Record(second(30), "c")
	line.Record(second(5), "d") // a clock that went back
	cases := map[string]struct {
		at   int
		want string
	}{
		"before the first record the first is the answer":     {0, "a"},
		"at the moment of a record the record is the answer":  {10, "a"},
		"between two records the earlier one is":              {19, "a"},
		"a later record takes over at its moment":             {20, "b"},
		"after the last record the last is":                   {99, "d"},
		"of two records of one moment the later one counts":   {30, "d"},
		"a record that goes backwards does not change before": {29, "b"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got, known := line.At(second(c.at)); !known || got != c.want {
				t.Errorf("At(%d) = %q, %v; want %q", c.at, got, known, c.want)
			}
		})
	}
	t.Run("forgetting changes no answer from then on", func(t *testing.T) {
		line.Forget(second(25))
		if len(line.versions) != 3 {
			t.Errorf("%d versions left, want b, c and d", len(line.versions))
		}
		for at, want := range map[int]string{25: "b", 29: "b", 30: "d", 99: "d"} {
			if got, _ := line.At(second(at)); got != want {
				t.Errorf("At(%d) = %q, want %q", at, got, want)
			}
		}
	})
}
