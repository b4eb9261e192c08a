package names_test

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/picharvest/picharvest/internal/names"
)

func Example() {
	stdin := strings.NewReader("# staff\nAda Lovelace\r\n\nAda\tLovelace\nGrace Hopper\n")
	file, err := names.Open(names.Stdin, stdin)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	for {
		line, err := file.Next()
		if bad, ok := errors.AsType[*names.BadLine](err); ok {
			fmt.Println("skipped:", bad)
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(line.Number, line.Name)
	}
	fmt.Printf("%+v\n", file.Totals())
	// Output:
	// 2 Ada Lovelace
	// skipped: line 4: a tab within the name (one name on a line, no columns): "Ada\tLovelace"
	// 5 Grace Hopper
	// {Lines:5 Names:2 Blank:1 Comments:1 Bad:1}
}

func ExampleBatchName() {
	for _, path := range []string{"staff/People 2024.txt.gz", "Müller.csv"} {
		batch, err := names.BatchName(path)
		fmt.Println(batch, err)
	}
	// Output:
	// people-2024 <nil>
	// muller <nil>
}

func ExampleCheckBatch() {
	fmt.Println(names.CheckBatch("My Batch"))
	// Output:
	// batch name "My Batch" is not up to 64 of a-z 0-9 . _ - with no dot or dash first and no dot last: try --batch my-batch
}
