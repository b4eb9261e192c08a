package results

import "testing"

// FuzzRecord: whatever lies in Redis is a record or a typed error.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		"1 1 queued 3 express 0 0 0 1700000000 - - -",
		"1 2 done 3 bulk 0 1 0 1700000000 - - -\nL {\"a\":[[\"age\",\"30\"]],\"p\":[[\"http://a.org/1.png\"]]}\nP1 {\"k\":\"png\",\"b\":1,\"w\":1,\"h\":1,\"s\":\"AAAA\",\"f\":\"b/n.png\"}",
		"1 1 failed 3 express 0 0 5 1700000000 1 timeout a.org\nL {\"p\":[[\"u\"]]}\nF1 {\"r\":\"timeout\",\"x\":true,\"m\":\"words\"}",
		"1 1 failed 3 express 0 0 5 1700000000 0 refused a.org\nE {\"r\":\"refused\"}",
		"1 3 done 3 bulk 0 0 0 1700000000 - - -\nL {}\nR 1700000000000000\nS 1700000000 1 0 {\"r\":\"not_found\"}\n=\n1 4 queued 3 bulk 0 0 0 1700000000 - - -\nR 1700000000000001 0 0",
		"1 2 failed 3 express 0 0 2 1700000000 0 refused a.org\nH 4 1:0:1700000000:unavailable:503 2:1:1700000001:died:0.1 2:1:1700000002:ok\nE {\"r\":\"refused\"}",
		"", "1", "2 1 queued 3 express 0 0 0 0 - - -", "1 1 x y z -1 1e9 0 0 - - -\nP-1 {}\nF99999999999999999999 {}\nL [",
	} {
		f.Add(s)
	}
	db := New(nil, "")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := db.parse("batch", 0, "name", s)
		if err != nil {
			if !IsRecordError(err) {
				t.Errorf("untyped error: %v", err)
			}
			return
		}
		r.Explain()
		r.Missing()
		r.Stored()
		for _, o := range r.Outcomes {
			if o.Picture != nil {
				o.Picture.Hex()
			}
		}
	})
}
