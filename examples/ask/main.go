// Ask sends one command to a Redis server and prints the reply: a codec is of use without a server, too.
//
//	ask -addr 127.0.0.1:6379 SET greeting hello EX 60
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/resp"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:6379", "ask the server at `address`")
	patience := flag.Duration("timeout", 5*time.Second, "give up after this `time`")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: ask [flags] COMMAND [ARGUMENT...]\n\nFlags:")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := ask(os.Stdout, *addr, *patience, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "ask:", err)
		os.Exit(1)
	}
}

func ask(w io.Writer, addr string, patience time.Duration, args []string) error {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write(resp.AppendCommand(nil, args...)); err != nil {
		return err
	}
	var (
		decoder resp.ReplyDecoder
		reply   resp.Value
		input   []byte
		chunk   [4096]byte
	)
	for {
		n, err := conn.Read(chunk[:])
		input = append(input, chunk[:n]...)
		if n > 0 {
			switch _, err := decoder.Decode(input, &reply); {
			case err == nil:
				show(w, &reply, "")
				return nil
			case !errors.Is(err, codec.More):
				return err
			}
		}
		if err == io.EOF {
			return fmt.Errorf("%s has closed the connection within a reply", addr)
		}
		if err != nil {
			return err
		}
	}
}

// show prints a reply as redis-cli does.
func show(w io.Writer, v *resp.Value, indent string) {
	switch {
	case v.Kind == resp.KindNull:
		fmt.Fprintln(w, "(nil)")
	case v.Kind == resp.KindInt:
		fmt.Fprintf(w, "(integer) %d\n", v.Int)
	case v.Kind == resp.KindError:
		fmt.Fprintf(w, "(error) %s\n", v.Data)
	case v.Kind == resp.KindSimple:
		fmt.Fprintf(w, "%s\n", v.Data)
	case len(v.Items) > 0:
		for i := range v.Items {
			head := fmt.Sprintf("%d) ", i+1)
			if i > 0 {
				fmt.Fprint(w, indent)
			}
			fmt.Fprint(w, head)
			show(w, &v.Items[i], indent+strings.Repeat(" ", len(head)))
		}
	case v.Kind == resp.KindArray:
		fmt.Fprintln(w, "(empty array)")
	case v.Kind == resp.KindBool:
		fmt.Fprintf(w, "(%v)\n", v.Int != 0)
	case v.Kind == resp.KindDouble:
		fmt.Fprintf(w, "(double) %v\n", v.Double)
	default:
		fmt.Fprintf(w, "%q\n", v.Data)
	}
}
