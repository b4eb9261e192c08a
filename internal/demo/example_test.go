package demo_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/picharvest/picharvest/internal/demo"
)

func Example() {
	server, err := demo.New(demo.Config{PublicURL: "http://people.example.org", Count: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	ts := httptest.NewServer(server)
	defer ts.Close()

	for _, path := range []string{"/?name=Brus%20Lee", "/Jack%20Chen", "/Nobody"} {
		resp, err := http.Get(ts.URL + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Println(string(body))
	}
	fmt.Println(server.Counts().Lookups, "lookups")
	// Output:
	// {"status":"success","result":{"name":"Brus Lee","age":"30","career":"engineer","picture":"http://people.example.org/images/2.png"}}
	// {"status":"success","result":{"name":"Jack Chen","age":"35","career":"actor","picture":"http://people.example.org/images/3.gif"}}
	// {"status":"fail","result":{}}
	// 3 lookups
}
