package export

import (
	"io"

	"github.com/parquet-go/parquet-go"
)

const (
	// groupRows and groupBytes bound what a row group holds, which is what
	// the writer keeps in memory.
	groupRows  = 50_000
	groupBytes = 64 << 20
)

// columnar writes rows as Parquet: text compressed by Zstandard, picture bytes
// as they are, each a column under the name that a table has for it.
type columnar struct {
	write func(Row, []byte) error
	flush func() error
	close func() error

	rows  int
	bytes int
}

// imageRow is a row with the bytes of its picture.
type imageRow struct {
	Row
	Image []byte `parquet:"image,optional,uncompressed"`
}

func newColumnar(w io.Writer, images bool) *columnar {
	if images {
		return columnarOf(w, func(r Row, image []byte) imageRow { return imageRow{r, image} })
	}
	return columnarOf(w, func(r Row, _ []byte) Row { return r })
}

func columnarOf[T any](w io.Writer, of func(Row, []byte) T) *columnar {
	p := parquet.NewGenericWriter[T](w,
		parquet.Compression(&parquet.Zstd),
		parquet.CreatedBy("harvest", "1", ""),
		// Without it every page of picture bytes has an entry in the footer.
		parquet.SkipPageBounds("image"),
	)
	return &columnar{
		write: func(r Row, image []byte) error {
			_, err := p.Write([]T{of(r, image)})
			return err
		},
		flush: p.Flush,
		close: p.Close,
	}
}

// row writes one row. image is not kept.
func (c *columnar) row(r Row, image []byte) error {
	if err := c.write(r, image); err != nil {
		return err
	}
	c.rows++
	c.bytes += len(image) + len(r.Attributes) + len(r.Message)
	if c.rows < groupRows && c.bytes < groupBytes {
		return nil
	}
	c.rows, c.bytes = 0, 0
	return c.flush()
}
