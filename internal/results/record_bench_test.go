package results

import "testing"

// BenchmarkRecord is what a record costs to write and to read.
func BenchmarkRecord(b *testing.B) {
	l := Lookup{
		Attributes: []Attribute{{"age", "30"}, {"career", "engineer"}, {"country", "United States"}},
		Pictures:   [][]string{{"https://upload.pictures.test/images/m12345.png"}},
		Licence:    "CC-BY-SA-4.0", Attribution: "Photo by A. Photographer",
	}
	doc, err := encode(stored(l))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := encode(stored(l)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse", func(b *testing.B) {
		record := "1 1 found 1 express 1 0 0 1700000000 - - -\nL " + doc
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parse("Ada Bo", record); err != nil {
				b.Fatal(err)
			}
		}
	})
}
