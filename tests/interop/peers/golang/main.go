// Participants of LiveKit's SDK for Go; commands on standard input.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"sync"
)

// A command holds the arguments of all of them.
type command struct {
	ID          int    `json:"id"`
	Participant string `json:"participant"`
	Do          string `json:"do"`

	URL             string            `json:"url"`
	Token           string            `json:"token"`
	To              string            `json:"to"`
	Method          string            `json:"method"`
	Payload         string            `json:"payload"`
	ResponseTimeout float64           `json:"response_timeout"`
	Reliable        bool              `json:"reliable"`
	Topic           string            `json:"topic"`
	Text            string            `json:"text"`
	Metadata        string            `json:"metadata"`
	Name            string            `json:"name"`
	Attributes      map[string]string `json:"attributes"`
}

type fields map[string]any

var output sync.Mutex

// Tell the test.
func write(message fields) {
	line, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

func main() {
	participants := map[string]*participant{}
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var given command
		if err := json.Unmarshal(line, &given); err != nil {
			panic(err)
		}
		if given.Do == "join" {
			participants[given.Participant] = newParticipant(given.Participant)
		}
		go func(who *participant) {
			answer := who.obey(given)
			answer["id"] = given.ID
			write(answer)
		}(participants[given.Participant])
	}
	for _, who := range participants {
		who.leave()
	}
}
