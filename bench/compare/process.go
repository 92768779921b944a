package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	host      = "127.0.0.1"
	startTime = 10 * time.Second // for a server to listen
	stopTime  = 3 * time.Second  // for a process to end by itself after SIGTERM
	pollStep  = 10 * time.Millisecond
	logTail   = 2 << 10 // bytes of a server's log that an error shows
)

// pinned is the command line that runs another one on one CPU.
func pinned(cpu int, argv []string) []string {
	return append([]string{"taskset", "-c", fmt.Sprint(cpu)}, argv...)
}

// command makes a process that ends when ctx is done, and with this one in any case.
func command(ctx context.Context, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	// Its own process group: ^C is for this process, which ends what it has started. Pdeathsig is the thread's that starts it: main
	// is locked to its thread.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// A process is a server that was started.
type process struct {
	cmd  *exec.Cmd
	addr string
	port string
	log  bytes.Buffer
	done chan error
}

// startServer starts a server of the table on a free port, and waits until it listens.
func (r *run) startServer(ctx context.Context, name string) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	line := strings.NewReplacer("BIN", r.cfg.Bin, "HOST", host, "PORT", port).Replace(commands[name])
	argv := strings.Fields(line)
	for i := range argv {
		if argv[i] == "''" {
			argv[i] = ""
		}
	}
	p := &process{addr: net.JoinHostPort(host, port), port: port, done: make(chan error, 1)}
	p.cmd = command(ctx, pinned(r.cfg.ServerCPU, argv))
	p.cmd.Dir = r.dir
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	for deadline := time.Now().Add(startTime); ; {
		c, err := net.DialTimeout("tcp", p.addr, time.Second)
		if err == nil {
			return p, c.Close()
		}
		select {
		case err := <-p.done:
			p.done <- err
			_ = p.stop()
			return nil, fmt.Errorf("%s ended at once: %w: %s", name, err, p.tail())
		case <-ctx.Done():
			_ = p.stop()
			return nil, ctx.Err()
		case <-time.After(pollStep):
		}
		if time.Now().After(deadline) {
			_ = p.stop()
			return nil, fmt.Errorf("%s does not listen on %s after %v: %s", name, p.addr, startTime, p.tail())
		}
	}
}

// tail is the end of the server's log. The process has ended, so nobody writes to it.
func (p *process) tail() string {
	b := bytes.TrimSpace(p.log.Bytes())
	return string(b[max(0, len(b)-logTail):])
}

// stop ends the process and waits for it.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended
	select {
	case err := <-p.done:
		p.done <- err
		var exit *exec.ExitError
		if errors.As(err, &exit) { // how a peer ends is its own affair
			return nil
		}
		return err
	case <-time.After(stopTime):
	}
	_ = p.cmd.Process.Kill()
	err := <-p.done
	p.done <- err
	return nil
}

// output runs a command on the load's CPU and returns what it prints.
func (r *run) output(ctx context.Context, argv []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.patience())
	defer cancel()
	cmd := command(ctx, pinned(r.cfg.LoadCPU, argv))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", argv[0], ctx.Err())
		}
		if text := strings.TrimSpace(errs.String()); text != "" {
			return nil, errors.New(text)
		}
		return nil, fmt.Errorf("%s: %w", argv[0], err)
	}
	return out.Bytes(), nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
