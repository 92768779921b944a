/*
 * The peer c is echo on io_uring in C, without a library between it and the kernel: it stands in for the limit of what one core can do.
 * It needs Linux 6.1.
 *
 *	gcc -O2 -o echo echo.c && ./echo -listen 127.0.0.1:9000
 *
 * One thread has one ring. A multishot accept puts connections into the ring's own table of files, a multishot receive on each of them
 * takes buffers from one provided buffer ring, and a send goes out from where the kernel has put the bytes: nothing is copied here. At most
 * one send is in flight on a connection, and what has arrived meanwhile goes out together with the next.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	SQ_ENTRIES = 4096,
	CQ_ENTRIES = 32768,
	MAX_CONNS = 16384,	/* files in the ring's table */
	BUFFERS = 2048,		/* a power of two */
	BUFFER_SIZE = 16 << 10,	/* bytes: 32 MiB in all */
	GATHER = 64,		/* buffers in one send: 1 MiB */
	BACKLOG = 4096,
	GROUP = 0,
	NONE = -1,
};

enum op { OP_ACCEPT, OP_RECV, OP_SEND, OP_SHUTDOWN, OP_CLOSE };

struct conn {
	int head, tail;	/* buffers that are to be sent, linked by next */
	int sending;	/* how many of them the send in flight has; 0: there is none */
	int offset;	/* bytes of the head that are sent */
	char receiving;	/* true while a receive is armed */
	char starved;	/* true while it is on the list of those that wait for a buffer */
	char ended;	/* the peer sends nothing more */
	char broken;	/* what is to be sent cannot be */
	int next_starved;
	struct msghdr msg;
	struct iovec *iov; /* of GATHER; made when first needed */
};

static int ring_fd;
static struct { _Atomic unsigned *head, *tail; unsigned mask, local; struct io_uring_sqe *sqes; } sq;
static struct { _Atomic unsigned *head, *tail; unsigned mask; struct io_uring_cqe *cqes; } cq;
static struct io_uring_buf_ring *buf_ring;
static unsigned buf_tail;
static char *buffers;
static int next[BUFFERS], length[BUFFERS];
static struct conn conns[MAX_CONNS];
static int listener, starved = NONE;

static void die(const char *what) {
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int enter(unsigned submit, unsigned wait) {
	return syscall(SYS_io_uring_enter, ring_fd, submit, wait, IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING, NULL, 0);
}

/* Submits what is queued, and waits for completions. */
static void submit(unsigned wait) {
	unsigned queued = sq.local - atomic_load_explicit(sq.head, memory_order_acquire);
	atomic_store_explicit(sq.tail, sq.local, memory_order_release);
	if (enter(queued, wait) < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
		die("io_uring_enter");
}

static struct io_uring_sqe *sqe(enum op op, int index) {
	if (sq.local - atomic_load_explicit(sq.head, memory_order_acquire) > sq.mask)
		submit(0);
	struct io_uring_sqe *s = &sq.sqes[sq.local++ & sq.mask];
	memset(s, 0, sizeof *s);
	s->fd = index;
	s->flags = IOSQE_FIXED_FILE;
	s->user_data = (uint64_t)op << 32 | (uint32_t)index;
	return s;
}

static void arm_accept(void) {
	struct io_uring_sqe *s = sqe(OP_ACCEPT, 0);
	s->opcode = IORING_OP_ACCEPT;
	s->flags = 0;
	s->fd = listener;
	s->ioprio = IORING_ACCEPT_MULTISHOT;
	s->file_index = IORING_FILE_INDEX_ALLOC;
}

static void arm_recv(int index) {
	struct io_uring_sqe *s = sqe(OP_RECV, index);
	s->opcode = IORING_OP_RECV;
	s->flags |= IOSQE_BUFFER_SELECT;
	s->ioprio = IORING_RECV_MULTISHOT;
	s->buf_group = GROUP;
	conns[index].receiving = 1;
}

static void recycle(int id) {
	struct io_uring_buf *b = &buf_ring->bufs[buf_tail++ & (BUFFERS - 1)];
	b->addr = (uint64_t)(uintptr_t)(buffers + (size_t)id * BUFFER_SIZE);
	b->len = BUFFER_SIZE;
	b->bid = id;
}

/* Shows the kernel the buffers that were recycled, and lets those receive that waited for one. */
static void publish(void) {
	if (buf_ring->tail == (uint16_t)buf_tail)
		return;
	atomic_store_explicit((_Atomic uint16_t *)&buf_ring->tail, (uint16_t)buf_tail, memory_order_release);
	while (starved != NONE) {
		struct conn *c = &conns[starved];
		int index = starved;
		starved = c->next_starved;
		c->starved = 0;
		arm_recv(index);
	}
}

static void send_pending(int index) {
	struct conn *c = &conns[index];
	char *first = buffers + (size_t)c->head * BUFFER_SIZE + c->offset;
	struct io_uring_sqe *s = sqe(OP_SEND, index);
	s->msg_flags = MSG_WAITALL | MSG_NOSIGNAL; /* the kernel goes on after a short send */
	if (next[c->head] == NONE) {
		c->sending = 1;
		s->opcode = IORING_OP_SEND;
		s->addr = (uint64_t)(uintptr_t)first;
		s->len = length[c->head] - c->offset;
		return;
	}
	if (!c->iov && !(c->iov = malloc(GATHER * sizeof *c->iov)))
		die("malloc");
	int n = 0;
	for (int id = c->head; id != NONE && n < GATHER; id = next[id])
		c->iov[n++] = (struct iovec){buffers + (size_t)id * BUFFER_SIZE, length[id]};
	c->iov[0] = (struct iovec){first, length[c->head] - c->offset};
	c->sending = n;
	c->msg = (struct msghdr){.msg_iov = c->iov, .msg_iovlen = n};
	s->opcode = IORING_OP_SENDMSG;
	s->addr = (uint64_t)(uintptr_t)&c->msg;
	s->len = 1;
}

/* Does what a connection needs next, after a completion. */
static void advance(int index) {
	struct conn *c = &conns[index];
	if (c->sending)
		return;
	if (c->head != NONE && !c->broken) {
		send_pending(index);
		return;
	}
	if (c->broken && c->receiving)
		return; /* the shutdown ends the receive */
	if (!c->ended && !c->broken)
		return;
	while (c->head != NONE) {
		int id = c->head;
		c->head = next[id];
		recycle(id);
	}
	struct io_uring_sqe *s = sqe(OP_CLOSE, index);
	s->opcode = IORING_OP_CLOSE;
	s->flags = 0;
	s->fd = 0;
	s->file_index = index + 1;
}

static void on_accept(struct io_uring_cqe *e) {
	if (e->res >= 0) {
		struct conn *c = &conns[e->res];
		struct iovec *iov = c->iov;
		*c = (struct conn){.head = NONE, .tail = NONE, .iov = iov};
		arm_recv(e->res);
	}
	if (!(e->flags & IORING_CQE_F_MORE))
		arm_accept();
}

static void on_recv(int index, struct io_uring_cqe *e) {
	struct conn *c = &conns[index];
	if (e->res > 0) {
		int id = e->flags >> IORING_CQE_BUFFER_SHIFT;
		next[id] = NONE;
		length[id] = e->res;
		if (c->head == NONE)
			c->head = id;
		else
			next[c->tail] = id;
		c->tail = id;
	} else if (e->flags & IORING_CQE_F_BUFFER) {
		recycle(e->flags >> IORING_CQE_BUFFER_SHIFT);
	}
	if (!(e->flags & IORING_CQE_F_MORE)) {
		c->receiving = 0;
		if (e->res == -ENOBUFS) {
			c->starved = 1;
			c->next_starved = starved;
			starved = index;
		} else if (e->res <= 0) {
			c->ended = 1;
		} else if (!c->broken) {
			arm_recv(index);
		}
	}
	advance(index);
}

static void on_send(int index, struct io_uring_cqe *e) {
	struct conn *c = &conns[index];
	c->sending = 0;
	if (e->res < 0) {
		c->broken = 1;
		if (c->receiving || c->starved) {
			struct io_uring_sqe *s = sqe(OP_SHUTDOWN, index);
			s->opcode = IORING_OP_SHUTDOWN;
			s->len = SHUT_RDWR;
			c->receiving = 1; /* one that is starved is armed soon */
		}
	}
	for (int left = e->res; left > 0;) {
		int id = c->head, rest = length[id] - c->offset;
		if (rest > left) {
			c->offset += left;
			break;
		}
		left -= rest;
		c->offset = 0;
		c->head = next[id];
		recycle(id);
	}
	advance(index);
}

static void setup_ring(void) {
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = CQ_ENTRIES,
	};
	if ((ring_fd = syscall(SYS_io_uring_setup, SQ_ENTRIES, &p)) < 0)
		die("io_uring_setup");
	size_t sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned), cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	char *m = mmap(NULL, sq_size > cq_size ? sq_size : cq_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_fd, IORING_OFF_SQ_RING);
	sq.sqes = mmap(NULL, p.sq_entries * sizeof *sq.sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_fd, IORING_OFF_SQES);
	if (m == MAP_FAILED || sq.sqes == MAP_FAILED || !(p.features & IORING_FEAT_SINGLE_MMAP))
		die("mmap of the ring");
	sq.head = (_Atomic unsigned *)(m + p.sq_off.head);
	sq.tail = (_Atomic unsigned *)(m + p.sq_off.tail);
	sq.mask = p.sq_entries - 1;
	for (unsigned i = 0; i < p.sq_entries; i++)
		((unsigned *)(m + p.sq_off.array))[i] = i;
	cq.head = (_Atomic unsigned *)(m + p.cq_off.head);
	cq.tail = (_Atomic unsigned *)(m + p.cq_off.tail);
	cq.mask = p.cq_entries - 1;
	cq.cqes = (struct io_uring_cqe *)(m + p.cq_off.cqes);

	struct io_uring_rsrc_register files = {.nr = MAX_CONNS, .flags = IORING_RSRC_REGISTER_SPARSE};
	if (syscall(SYS_io_uring_register, ring_fd, IORING_REGISTER_FILES2, &files, sizeof files) < 0)
		die("table of files");
	size_t ring_size = BUFFERS * sizeof(struct io_uring_buf), data_size = (size_t)BUFFERS * BUFFER_SIZE;
	buf_ring = mmap(NULL, ring_size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE | MAP_POPULATE, -1, 0);
	buffers = mmap(NULL, data_size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	if (buf_ring == MAP_FAILED || buffers == MAP_FAILED)
		die("memory of buffers");
	madvise(buffers, data_size, MADV_HUGEPAGE);
	struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)buf_ring, .ring_entries = BUFFERS, .bgid = GROUP};
	if (syscall(SYS_io_uring_register, ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1) < 0)
		die("provided buffer ring");
	for (int id = 0; id < BUFFERS; id++)
		recycle(id);
	publish();
	struct io_uring_rsrc_update self = {.offset = -1U, .data = ring_fd};
	if (syscall(SYS_io_uring_register, ring_fd, IORING_REGISTER_RING_FDS, &self, 1) != 1)
		die("registered ring");
	ring_fd = self.offset;
}

static void listen_on(const char *addr) {
	struct sockaddr_in a = {.sin_family = AF_INET};
	char host[INET_ADDRSTRLEN];
	const char *colon = strrchr(addr, ':');
	if (!colon || colon - addr >= (int)sizeof host) {
		fprintf(stderr, "-listen wants an address as 127.0.0.1:9000\n");
		exit(2);
	}
	memcpy(host, addr, colon - addr);
	host[colon - addr] = 0;
	a.sin_port = htons(atoi(colon + 1));
	if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
		fprintf(stderr, "-listen wants an address as 127.0.0.1:9000\n");
		exit(2);
	}
	int on = 1;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* connections inherit it */
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, BACKLOG) < 0)
		die(addr);
}

int main(int argc, char **argv) {
	const char *addr = "127.0.0.1:9000";
	for (int i = 1; i < argc; i += 2) {
		const char *flag = argv[i] + (argv[i][0] == '-') + (argv[i][0] == '-' && argv[i][1] == '-');
		if (i + 1 < argc && !strcmp(flag, "listen")) {
			addr = argv[i + 1];
		} else if (i + 1 >= argc || strcmp(flag, "loops") || strcmp(argv[i + 1], "1")) {
			fprintf(stderr, "usage: echo [-listen HOST:PORT] [-loops 1]\n");
			return 2;
		}
	}
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max; /* the table of files counts */
		setrlimit(RLIMIT_NOFILE, &files);
	}
	setup_ring();
	listen_on(addr);
	arm_accept();
	for (;;) {
		submit(1);
		unsigned head = atomic_load_explicit(cq.head, memory_order_relaxed), tail = atomic_load_explicit(cq.tail, memory_order_acquire);
		for (; head != tail; head++) {
			struct io_uring_cqe *e = &cq.cqes[head & cq.mask];
			int index = (uint32_t)e->user_data;
			switch ((enum op)(e->user_data >> 32)) {
			case OP_ACCEPT: on_accept(e); break;
			case OP_RECV: on_recv(index, e); break;
			case OP_SEND: on_send(index, e); break;
			case OP_SHUTDOWN: case OP_CLOSE: break;
			}
		}
		atomic_store_explicit(cq.head, head, memory_order_release);
		publish();
	}
}
