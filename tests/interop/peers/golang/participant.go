package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"
)

// How often names are looked at, for whose changes the SDK has no event.
const nameInterval = 50 * time.Millisecond

// A participant that describes itself, answers to methods, and obeys commands.
type participant struct {
	identity string
	room     *lksdk.Room
	left     chan struct{}
	leaving  sync.Once
}

func newParticipant(identity string) *participant {
	p := &participant{identity: identity, left: make(chan struct{})}
	p.room = lksdk.NewRoom(&lksdk.RoomCallback{
		OnParticipantConnected: func(who *lksdk.RemoteParticipant) {
			p.report("sees", fields{"who": who.Identity()})
		},
		OnParticipantDisconnected: func(who *lksdk.RemoteParticipant) {
			p.report("lost", fields{"who": who.Identity()})
		},
		OnDisconnected: func() {
			p.report("disconnected", fields{"reason": p.room.DisconnectReason().String()})
		},
		ParticipantCallback: lksdk.ParticipantCallback{
			OnMetadataChanged: func(_ string, who lksdk.Participant) {
				p.report("metadata", fields{"who": who.Identity(), "value": who.Metadata()})
			},
			OnAttributesChanged: func(changed map[string]string, who lksdk.Participant) {
				p.report("attributes", fields{"who": who.Identity(), "value": changed})
			},
			OnDataPacket: p.onData,
		},
	})
	for method, handler := range p.methods() {
		if err := p.room.RegisterRpcMethod(method, handler); err != nil {
			panic(err)
		}
	}
	err := p.room.RegisterTextStreamHandler("text", func(reader *lksdk.TextStreamReader, who string) {
		p.report("text", fields{"who": who, "text": reader.ReadAll()})
	})
	if err != nil {
		panic(err)
	}
	return p
}

func (p *participant) report(event string, more fields) {
	more["participant"] = p.identity
	more["event"] = event
	write(more)
}

func (p *participant) onData(packet lksdk.DataPacket, params lksdk.DataReceiveParams) {
	if data, ok := packet.(*lksdk.UserDataPacket); ok {
		// The SDK does not say whether it was reliable.
		p.report("data", fields{
			"who": params.SenderIdentity, "payload": string(data.Payload), "topic": data.Topic,
			"reliable": nil,
		})
	}
}

// Report changes of names, until the room is left.
func (p *participant) watchNames() {
	known := map[string]string{}
	ticker := time.NewTicker(nameInterval)
	defer ticker.Stop()
	for {
		select {
		case <-p.left:
			return
		case <-ticker.C:
		}
		names := map[string]string{p.identity: p.room.LocalParticipant.Name()}
		for _, who := range p.room.GetRemoteParticipants() {
			names[who.Identity()] = who.Name()
		}
		for who, name := range names {
			if known[who] != name {
				known[who] = name
				p.report("name", fields{"who": who, "value": name})
			}
		}
	}
}

func (p *participant) methods() map[string]lksdk.RpcHandlerFunc {
	return map[string]lksdk.RpcHandlerFunc{
		"echo": func(data lksdk.RpcInvocationData) (string, error) {
			return data.Payload, nil
		},
		"describe": func(data lksdk.RpcInvocationData) (string, error) {
			described, err := json.Marshal(fields{
				"id":               data.RequestID,
				"caller":           data.CallerIdentity,
				"payload":          data.Payload,
				"response_timeout": data.ResponseTimeout.Seconds(),
			})
			return string(described), err
		},
		"size": func(data lksdk.RpcInvocationData) (string, error) {
			return strconv.Itoa(len(data.Payload)), nil
		},
		"repeat": func(data lksdk.RpcInvocationData) (string, error) {
			times, err := strconv.Atoi(data.Payload)
			return strings.Repeat("x", times), err
		},
		"fail": func(lksdk.RpcInvocationData) (string, error) {
			data := `{"left": 0}`
			return "", lksdk.NewRpcError(4321, "out of milk", &data)
		},
		"crash": func(lksdk.RpcInvocationData) (string, error) {
			return "", errors.New("a secret")
		},
		"hang": func(data lksdk.RpcInvocationData) (string, error) {
			p.report("invoked", fields{"who": data.CallerIdentity})
			select {} // also when the room is left
		},
		"number": func(lksdk.RpcInvocationData) (string, error) {
			return strconv.Itoa(42), nil
		},
	}
}

// Run a command, and return its result.
func (p *participant) obey(given command) fields {
	result, err := p.do(given)
	if err == nil {
		return fields{"result": result}
	}
	failed, ok := errors.AsType[*lksdk.RpcError](err)
	if !ok {
		return fields{"failure": err.Error()}
	}
	data := failed.Data
	if data != nil && *data == "" {
		data = nil
	}
	return fields{"error": fields{"code": failed.Code, "message": failed.Message, "data": data}}
}

func (p *participant) do(given command) (any, error) {
	local := p.room.LocalParticipant
	switch given.Do {
	case "join":
		return nil, p.join(given.URL, given.Token)
	case "leave":
		p.leave()
	case "call":
		timeout := time.Duration(given.ResponseTimeout * float64(time.Second))
		return local.PerformRpc(lksdk.PerformRpcParams{
			DestinationIdentity: given.To,
			Method:              given.Method,
			Payload:             given.Payload,
			ResponseTimeout:     &timeout,
		})
	case "publish":
		return nil, local.PublishDataPacket(
			lksdk.UserData([]byte(given.Payload)),
			lksdk.WithDataPublishReliable(given.Reliable),
			lksdk.WithDataPublishTopic(given.Topic),
			lksdk.WithDataPublishDestination([]string{given.To}),
		)
	case "send_text":
		local.SendText(given.Text, lksdk.StreamTextOptions{
			Topic: "text", DestinationIdentities: []string{given.To},
		})
	case "set_metadata":
		local.SetMetadata(given.Metadata)
	case "set_name":
		local.SetName(given.Name)
	case "set_attributes":
		local.SetAttributes(given.Attributes)
	case "participants":
		return p.participants(), nil
	default:
		return nil, fmt.Errorf("unknown command %q", given.Do)
	}
	return nil, nil
}

func (p *participant) join(url, token string) error {
	if err := p.room.JoinWithToken(url, token); err != nil {
		return err
	}
	for _, who := range p.room.GetRemoteParticipants() {
		p.report("sees", fields{"who": who.Identity()})
	}
	go p.watchNames()
	return nil
}

func (p *participant) leave() {
	p.leaving.Do(func() {
		p.room.Disconnect()
		close(p.left)
	})
}

func (p *participant) participants() fields {
	all := fields{}
	for _, who := range p.room.GetRemoteParticipants() {
		attributes := who.Attributes()
		if attributes == nil {
			attributes = map[string]string{}
		}
		all[who.Identity()] = fields{
			"name": who.Name(), "metadata": who.Metadata(), "attributes": attributes,
		}
	}
	return all
}
