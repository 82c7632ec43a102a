// Gets each address that it is given, with the key of its environment, as Go's own library does it.
// It never learns of an outlet but by the environment.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	for _, address := range os.Args[1:] {
		request, err := http.NewRequest("GET", address, nil)
		if err == nil && request.URL.Scheme == "https" {
			request.Header.Set("authorization", "Bearer "+os.Getenv("API_KEY"))
		}
		if err == nil {
			err = get(request)
		}
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
}

func get(request *http.Request) error {
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil {
		fmt.Println(answer.StatusCode, answer.Proto, string(body))
	}
	return err
}
