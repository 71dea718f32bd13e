// The peer of the speed tests: a small server that echoes and pushes, and a bare client on gorilla/websocket with
// a goroutine for each connection, which keeps no figures.  The load generator is measured against both.
//
//	peer serve                                     prints the port; GET /push?rate=N pushes N frames a second
//	peer client URL USERS OPS_PER_S                prints "connected", then sends at random until its stdin closes
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	subprotocol = "readstate.v1"
	pushFrame   = `{"type":"UPDATE","key":"read/d77/u4711","value":{"up_to_seq":812,"read_time":1712054890155},` +
		`"version":31,"at":1712054890155,"origin_device":"device-2"}`
	handshakesAtATime = 64
)

// --- server

var replies = map[string]string{
	"HELLO": `{"type":"WELCOME","reply_to":"%s","session_id":"s","epoch":1,"change_id":0,"server_time":0,"limits":{"heartbeat_s":3600}}`,
	"SUB":   `{"type":"ACK","reply_to":"%s","count":1}`,
	"STATE": `{"type":"STATE_RESULT","reply_to":"%s","conversations":[],"change_id":0,"done":true}`,
	"SYNC":  `{"type":"SYNC_RESULT","reply_to":"%s","changed_count":0,"updated_messages":[],"changes":[],"next_change_id":0,"done":true,"server_time":0}`,
	"READ":  `{"type":"ACK","reply_to":"%s","durability":"volatile","items":[{"conversation_id":"d77","applied":true,"read_seq":812,"unread":0,"version":31,"read_time":1712054890155}]}`,
}

type server struct {
	mu    sync.Mutex
	peers []*peer
	rate  atomic.Int64
}

type peer struct {
	mu     sync.Mutex
	socket *websocket.Conn
}

func (p *peer) write(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.socket.WriteMessage(websocket.TextMessage, []byte(text)) // a reader notices that it is gone
}

// field cuts a string field out of a frame: a stand-in for a parser that costs nothing.
func field(frame, name string) string {
	_, rest, found := strings.Cut(frame, `"`+name+`":"`)
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{Subprotocols: []string{subprotocol}, ReadBufferSize: 1024, WriteBufferSize: 1024}
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	p := &peer{socket: socket}
	s.mu.Lock()
	s.peers = append(s.peers, p)
	s.mu.Unlock()
	for {
		_, data, err := socket.ReadMessage()
		if err != nil {
			break
		}
		frame := string(data)
		p.write(fmt.Sprintf(replies[field(frame, "type")], field(frame, "id")))
	}
	s.forget(p)
	socket.Close()
}

func (s *server) forget(gone *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.peers {
		if p == gone {
			s.peers[i] = s.peers[len(s.peers)-1]
			s.peers = s.peers[:len(s.peers)-1]
			return
		}
	}
}

func (s *server) push() {
	due := time.Now()
	for {
		rate := s.rate.Load()
		if rate == 0 {
			time.Sleep(10 * time.Millisecond)
			due = time.Now()
			continue
		}
		due = due.Add(time.Duration(rand.ExpFloat64() * float64(time.Second) / float64(rate)))
		time.Sleep(time.Until(due))
		s.mu.Lock()
		var p *peer
		if len(s.peers) > 0 {
			p = s.peers[rand.Intn(len(s.peers))]
		}
		s.mu.Unlock()
		if p != nil {
			p.write(pushFrame)
		}
	}
}

func serve() {
	s := &server{}
	go s.push()
	http.HandleFunc("/ws", s.serve)
	http.HandleFunc("/push", func(_ http.ResponseWriter, r *http.Request) {
		rate, _ := strconv.ParseInt(r.URL.Query().Get("rate"), 10, 64)
		s.rate.Store(rate)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, nil))
}

// --- client

func client(url string, users int, opsPerS float64) {
	dialer := websocket.Dialer{Subprotocols: []string{subprotocol}, ReadBufferSize: 1024, WriteBufferSize: 1024}
	sockets := make([]*websocket.Conn, users)
	slots := make(chan struct{}, handshakesAtATime)
	var connected sync.WaitGroup
	for i := range sockets {
		connected.Add(1)
		slots <- struct{}{}
		go func(i int) {
			socket, _, err := dialer.Dial(url, nil)
			if err != nil {
				log.Fatal(err)
			}
			sockets[i] = socket
			<-slots
			connected.Done()
			for {
				if _, _, err := socket.ReadMessage(); err != nil {
					return
				}
			}
		}(i)
	}
	connected.Wait()
	fmt.Println("connected")
	if opsPerS > 0 {
		go pace(sockets, opsPerS)
	}
	_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
}

func pace(sockets []*websocket.Conn, opsPerS float64) {
	due := time.Now()
	for id := 0; ; id++ {
		due = due.Add(time.Duration(rand.ExpFloat64() * float64(time.Second) / opsPerS))
		time.Sleep(time.Until(due))
		frame := fmt.Sprintf(`{"type":"READ","items":[{"conversation_id":"d77","up_to_seq":812}],"op_id":"","id":"%d"}`, id)
		if err := sockets[rand.Intn(len(sockets))].WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
			log.Fatal(err)
		}
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		serve()
	} else if len(os.Args) == 5 && os.Args[1] == "client" {
		users, err := strconv.Atoi(os.Args[3])
		opsPerS, err2 := strconv.ParseFloat(os.Args[4], 64)
		if err != nil || err2 != nil {
			log.Fatal("USERS and OPS_PER_S are numbers")
		}
		client(os.Args[2], users, opsPerS)
	} else {
		log.Fatal("peer serve | peer client URL USERS OPS_PER_S")
	}
}
