// A second load generator, as small and as different as can be: epoll, one thread that never sleeps, every latency kept and sorted. It asks
// a server that speaks RESP for one key, at a constant rate, and prints percentiles in nanoseconds. What it and bench say of the same
// server must agree.
//
//	cc -O2 -o second second.c && ./second PORT CONNS RATE SECONDS
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_FLIGHT = 1 << 12, VALUE = 64 };

struct conn {
	int fd;
	int64_t due[IN_FLIGHT]; // of the requests without a reply
	unsigned head, tail;
	size_t got; // bytes of the next reply
};

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void die(const char *what) {
	perror(what);
	exit(1);
}

static int order(const void *a, const void *b) {
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv) {
	if (argc != 5) {
		fprintf(stderr, "usage: second PORT CONNS RATE SECONDS\n");
		return 2;
	}
	int conns = atoi(argv[2]);
	double rate = atof(argv[3]), seconds = atof(argv[4]);
	long total = (long)(rate * seconds), sent = 0, done = 0;
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct conn *cs = calloc((size_t)conns, sizeof *cs);
	int64_t *latency = calloc((size_t)total, sizeof *latency);
	int ep = epoll_create1(0), one = 1;
	if (!cs || !latency || ep < 0)
		die("set up");
	char value[VALUE + 1], set[256];
	memset(value, 'v', VALUE);
	value[VALUE] = 0;
	for (int i = 0; i < conns; i++) {
		cs[i].fd = socket(AF_INET, SOCK_STREAM, 0);
		if (cs[i].fd < 0 || connect(cs[i].fd, (struct sockaddr *)&addr, sizeof addr) < 0)
			die("connect");
		setsockopt(cs[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		if (i == 0) {
			int n = snprintf(set, sizeof set, "SET second %s\r\n", value);
			if (write(cs[0].fd, set, (size_t)n) != n || read(cs[0].fd, set, 5) != 5 || memcmp(set, "+OK\r\n", 5))
				die("SET");
		}
		fcntl(cs[i].fd, F_SETFL, O_NONBLOCK);
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &cs[i]};
		epoll_ctl(ep, EPOLL_CTL_ADD, cs[i].fd, &ev);
	}
	const char get[] = "*2\r\n$3\r\nGET\r\n$6\r\nsecond\r\n";
	const size_t reply = strlen("$64\r\n") + VALUE + strlen("\r\n");
	int64_t start = now(), deadline = start + (int64_t)((seconds + 5) * 1e9);
	while (done < total) {
		int64_t t = now();
		if (t > deadline) {
			fprintf(stderr, "%ld of %ld replies\n", done, total);
			return 1;
		}
		for (; sent < total; sent++) {
			int64_t due = start + (int64_t)((double)sent * 1e9 / rate);
			struct conn *c = &cs[sent % conns];
			if (due > t || c->tail - c->head == IN_FLIGHT)
				break;
			if (write(c->fd, get, sizeof get - 1) != (ssize_t)(sizeof get - 1))
				break; // full: it is tried again, and stays due
			c->due[c->tail++ % IN_FLIGHT] = due;
		}
		struct epoll_event evs[256];
		int n = epoll_wait(ep, evs, 256, 0);
		for (int i = 0; i < n; i++) {
			struct conn *c = evs[i].data.ptr;
			char buf[1 << 16];
			ssize_t got = read(c->fd, buf, sizeof buf);
			if (got <= 0) {
				if (got < 0 && errno == EAGAIN)
					continue;
				die("read");
			}
			t = now();
			for (c->got += (size_t)got; c->got >= reply; c->got -= reply)
				latency[done++] = t - c->due[c->head++ % IN_FLIGHT];
		}
	}
	double took = (double)(now() - start) / 1e9;
	qsort(latency, (size_t)done, sizeof *latency, order);
	printf("{\"rate\":%.1f,\"p50\":%lld,\"p90\":%lld,\"p99\":%lld,\"p999\":%lld}\n", (double)done / took, (long long)latency[done / 2],
	       (long long)latency[done * 9 / 10], (long long)latency[done * 99 / 100], (long long)latency[done * 999 / 1000]);
	return 0;
}
