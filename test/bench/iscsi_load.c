/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thin iSCSI load generator: one connection, a fixed number of commands in
 * flight, as little work per command as can be, so that the target is what is
 * measured.  It speaks just enough of RFC 7143 to log in without security and
 * to move data; any answer that it does not expect ends the run.
 *
 * Prints one line of JSON.  With --pid it adds the target's CPU time per I/O.  With --commands it sends so many, from the
 * first on, without a warm-up.
 *
 * Threads: one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/stats.h"
#include "common/util.h"

#define BHS 48
#define DIGEST 4 /* bytes */
#define QD_MAX 256
#define BLOCK_MAX (1u << 20)
#define RECV_BYTES (1u << 20)

enum { OP_NOP_OUT = 0x00, OP_CMD = 0x01, OP_LOGIN = 0x03, OP_DATA_OUT = 0x05, OP_LOGOUT = 0x06 };
enum { OP_NOP_IN = 0x20, OP_RESP = 0x21, OP_LOGIN_RESP = 0x23, OP_DATA_IN = 0x25, OP_R2T = 0x31 };

static const struct workload {
	const char *name;
	bool write, random, fua;
} workloads[] = {
	{"randread", false, true, false}, {"randwrite", true, true, false}, {"seqread", false, false, false},
	{"seqwrite", true, false, false}, {"fuawrite", true, true, true},
};

struct slot {
	uint64_t start_ns;
	bool busy;
};

static struct {
	const char *target;
	unsigned lun, depth;
	uint32_t block;
	double seconds;
	uint64_t commands; /* 0: as many as fit into `seconds` */
	pid_t pid;
	bool digests;
	const struct workload *load;
} opt = {.depth = 1, .block = 4096, .seconds = 3};

static struct {
	int fd;
	uint32_t cmd_sn, max_cmd_sn, exp_stat_sn;
	uint32_t first_burst, max_burst, peer_segment;
	bool immediate, header_digest, data_digest;
	uint64_t blocks; /* of the device, in units of the device's block */
	uint32_t block_bytes;
	uint64_t next_seq, random;
	struct slot slots[QD_MAX];
	unsigned busy;
	uint64_t sent, done;
	uint8_t headers[QD_MAX * 2][BHS + DIGEST], data_digests[QD_MAX * 2][DIGEST];
	struct iovec iov[QD_MAX * 6];
	int niov;
	unsigned nheaders;
	uint8_t *data;
	struct histogram latency;
} s = {.fd = -1, .first_burst = 65536, .max_burst = 262144, .peer_segment = 8192, .immediate = true};

__attribute__((noreturn, format(printf, 1, 2))) static void
die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "iscsi_load: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

static void
send_all(struct iovec *iov, int n)
{
	while (n) {
		ssize_t sent = writev(s.fd, iov, n > 1024 ? 1024 : n);

		if (sent < 0)
			die("send: %s", strerror(errno));
		while (n && (size_t)sent >= iov->iov_len) {
			sent -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n) {
			iov->iov_base = (char *)iov->iov_base + sent;
			iov->iov_len -= (size_t)sent;
		}
	}
}

static void
recv_all(void *p, size_t n)
{
	while (n) {
		ssize_t got = recv(s.fd, p, n, 0);

		if (got <= 0)
			die("the target closed the connection%s%s", got ? ": " : "",
			    got ? strerror(errno) : "");
		p = (char *)p + got;
		n -= (size_t)got;
	}
}

static void
connect_to(const char *portal)
{
	char host[256];
	const char *colon = strrchr(portal, ':');
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
	int one = 1;

	if (!colon || (size_t)(colon - portal) >= sizeof(host))
		die("portal \"%s\": expected HOST:PORT", portal);
	memcpy(host, portal, (size_t)(colon - portal));
	host[colon - portal] = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &ai))
		die("portal \"%s\": no such host", portal);
	s.fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s.fd < 0 || connect(s.fd, ai->ai_addr, ai->ai_addrlen) < 0)
		die("portal \"%s\": %s", portal, strerror(errno));
	setsockopt(s.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	freeaddrinfo(ai);
}

static void
learn_key(const char *key)
{
	const char *value = strchr(key, '=');

	if (!value)
		return;
	value++;
	if (!strncmp(key, "FirstBurstLength=", 17))
		s.first_burst = (uint32_t)strtoul(value, NULL, 10);
	else if (!strncmp(key, "MaxBurstLength=", 15))
		s.max_burst = (uint32_t)strtoul(value, NULL, 10);
	else if (!strncmp(key, "MaxRecvDataSegmentLength=", 25))
		s.peer_segment = (uint32_t)strtoul(value, NULL, 10);
	else if (!strncmp(key, "ImmediateData=", 14))
		s.immediate = !strcmp(value, "Yes");
	else if (!strncmp(key, "HeaderDigest=", 13))
		s.header_digest = !strcmp(value, "CRC32C");
	else if (!strncmp(key, "DataDigest=", 11))
		s.data_digest = !strcmp(value, "CRC32C");
}

static uint8_t
login_step(uint8_t flags, const char *text, size_t len)
{
	uint8_t h[BHS] = {OP_LOGIN | 0x40, flags}, answer[16384];
	static const uint8_t pad[4];
	struct iovec iov[3] = {
		{h, BHS}, {(void *)(uintptr_t)text, len}, {(void *)(uintptr_t)pad, (4 - len % 4) % 4}};
	uint32_t n;

	put_be24(h + 5, (uint32_t)len);
	h[8] = 0x80;
	put_be32(h + 10, (uint32_t)getpid());
	put_be32(h + 24, s.cmd_sn);
	put_be32(h + 28, s.exp_stat_sn);
	send_all(iov, 3);
	recv_all(h, BHS);
	n = (get_be24(h + 5) + 3) & ~3u;
	if ((h[0] & 0x3f) != OP_LOGIN_RESP || n >= sizeof(answer))
		die("login: unexpected answer (opcode 0x%02x)", h[0]);
	recv_all(answer, n);
	if (get_be16(h + 36))
		die("login refused, status %02x%02x", h[36], h[37]);
	for (uint32_t at = 0; at < get_be24(h + 5); at += (uint32_t)strlen((char *)answer + at) + 1)
		learn_key((char *)answer + at);
	s.exp_stat_sn = get_be32(h + 24) + 1;
	s.cmd_sn = get_be32(h + 28);
	s.max_cmd_sn = get_be32(h + 32);
	return h[1];
}

static void
login(void)
{
	const char *digest = opt.digests ? "CRC32C" : "None";
	char text[1024];
	uint8_t flags;
	int n;
	static const char op[] =
		"InitialR2T=No\0ImmediateData=Yes\0"
		"FirstBurstLength=262144\0MaxBurstLength=1048576\0MaxRecvDataSegmentLength=262144\0"
		"MaxOutstandingR2T=1\0DefaultTime2Wait=2\0DefaultTime2Retain=0\0";

	n = snprintf(text, sizeof(text),
		     "InitiatorName=iqn.2026-11.net.lungate:load%cSessionType=Normal%cTargetName=%s%c"
		     "AuthMethod=None%c",
		     0, 0, opt.target, 0, 0);
	(void)login_step(0x81, text, (size_t)n);
	n = snprintf(text, sizeof(text), "HeaderDigest=%s%cDataDigest=%s%c", digest, 0, digest, 0);
	memcpy(text + n, op, sizeof(op) - 1);
	flags = login_step(0x87, text, (size_t)n + sizeof(op) - 1);
	for (int i = 0; i < 4 && (flags & 0x83) != 0x83; i++)
		flags = login_step(0x87, "", 0);
	if ((flags & 0x83) != 0x83)
		die("login: the target did not go to full feature phase (flags 0x%02x)", flags);
	if (s.header_digest != opt.digests || s.data_digest != opt.digests)
		die("login: the target does not agree to digests");
}

static uint8_t *
new_header(void)
{
	uint8_t *h = s.headers[s.nheaders++];

	memset(h, 0, BHS);
	s.iov[s.niov++] = (struct iovec){h, BHS};
	return h;
}

/* The header is complete; n bytes of data follow it, always the same ones. */
static void
queue_payload(uint8_t *h, uint32_t n)
{
	static uint32_t known_n, known_crc;
	uint8_t *digest = s.data_digests[s.nheaders - 1];

	put_be24(h + 5, n);
	if (s.header_digest) {
		put_le32(h + BHS, crc32c(0, h, BHS));
		s.iov[s.niov - 1].iov_len += DIGEST;
	}
	if (!n)
		return;
	s.iov[s.niov++] = (struct iovec){s.data, n};
	if (!s.data_digest)
		return;
	if (known_n != n)
		known_crc = crc32c(0, s.data, n);
	known_n = n;
	put_le32(digest, known_crc);
	s.iov[s.niov++] = (struct iovec){digest, DIGEST};
}

/* Ask for the capacity with one command of its own, synchronously; again while attempts are left. */
static void
read_capacity(unsigned attempts)
{
	uint8_t *h = new_header(), r[BHS + DIGEST], data[64] = {0};
	uint32_t n;

	h[0] = OP_CMD;
	h[1] = 0xc1;
	h[9] = (uint8_t)opt.lun;
	put_be32(h + 20, 32);
	put_be32(h + 24, s.cmd_sn++);
	put_be32(h + 28, s.exp_stat_sn);
	h[32] = 0x9e;
	h[33] = 0x10;
	put_be32(h + 42, 32);
	queue_payload(h, 0);
	send_all(s.iov, s.niov);
	s.niov = 0;
	s.nheaders = 0;
	for (;;) {
		recv_all(r, s.header_digest ? BHS + DIGEST : BHS);
		n = (get_be24(r + 5) + 3) & ~3u;
		if (n && s.data_digest)
			n += DIGEST;
		if (n > sizeof(data))
			die("READ CAPACITY(16): answer too long");
		recv_all(data, n);
		if ((r[0] & 0x3f) == OP_RESP && r[3]) {
			/* the power-on unit attention comes first; ask again */
			s.exp_stat_sn = get_be32(r + 24) + 1;
			if (!attempts)
				die("READ CAPACITY(16): SCSI status 0x%02x", r[3]);
			read_capacity(attempts - 1);
			return;
		}
		if ((r[0] & 0x3f) == OP_RESP || ((r[0] & 0x3f) == OP_DATA_IN && (r[1] & 1))) {
			s.exp_stat_sn = get_be32(r + 24) + 1;
			s.max_cmd_sn = get_be32(r + 32);
			break;
		}
	}
	s.blocks = get_be64(data) + 1;
	s.block_bytes = get_be32(data + 8);
	if (!s.block_bytes || opt.block % s.block_bytes || s.blocks * s.block_bytes < opt.block)
		die("the LUN does not suit a block of %u bytes", opt.block);
}

static uint64_t
next_lba(void)
{
	uint64_t per = opt.block / s.block_bytes, places = s.blocks / per, place;

	if (opt.load->random) {
		s.random ^= s.random << 13;
		s.random ^= s.random >> 7;
		s.random ^= s.random << 17;
		place = s.random % places;
	} else {
		place = s.next_seq++ % places;
	}
	return place * per;
}

static void
queue_command(unsigned tag)
{
	uint8_t *h = new_header();
	uint32_t now = 0;

	h[0] = OP_CMD;
	h[9] = (uint8_t)opt.lun;
	put_be32(h + 16, tag);
	put_be32(h + 20, opt.block);
	put_be32(h + 24, s.cmd_sn++);
	put_be32(h + 28, s.exp_stat_sn);
	h[32] = opt.load->write ? 0x8a : 0x88;
	h[33] = opt.load->fua ? 0x08 : 0;
	put_be64(h + 34, next_lba());
	put_be32(h + 42, opt.block / s.block_bytes);
	h[1] = opt.load->write ? 0xa1 : 0xc1;
	if (opt.load->write && s.immediate)
		now = min_of(opt.block, min_of(s.first_burst, s.peer_segment));
	queue_payload(h, now);
	s.slots[tag].busy = true;
	s.slots[tag].start_ns = clock_ns();
	s.busy++;
	s.sent++;
}

static void
flush(void)
{
	send_all(s.iov, s.niov);
	s.niov = 0;
	s.nheaders = 0;
}

static void
queue_data_out(const uint8_t *r2t)
{
	uint32_t offset = get_be32(r2t + 40), left = get_be32(r2t + 44);

	for (uint32_t sn = 0; left; sn++) {
		uint32_t n = min_of(left, s.peer_segment);
		uint8_t *h;

		if (s.nheaders == QD_MAX * 2 || s.niov + 3 > QD_MAX * 6)
			flush();
		h = new_header();
		h[0] = OP_DATA_OUT;
		h[1] = n == left ? 0x80 : 0;
		memcpy(h + 8, r2t + 8, 8);
		memcpy(h + 16, r2t + 16, 8);
		put_be32(h + 28, s.exp_stat_sn);
		put_be32(h + 36, sn);
		put_be32(h + 40, offset);
		queue_payload(h, n);
		offset += n;
		left -= n;
	}
}

static void
finish(const uint8_t *h)
{
	uint32_t tag = get_be32(h + 16);

	if (h[3])
		die("SCSI status 0x%02x after %llu commands", h[3], (unsigned long long)s.done);
	if (tag >= opt.depth || !s.slots[tag].busy)
		die("answer to a command that was not sent (tag 0x%x)", tag);
	histogram_record(&s.latency, clock_ns() - s.slots[tag].start_ns);
	s.slots[tag].busy = false;
	s.busy--;
	s.done++;
}

static void
handle(const uint8_t *h)
{
	uint8_t op = h[0] & 0x3f;

	if (op != OP_DATA_IN || (h[1] & 1))
		s.max_cmd_sn = get_be32(h + 32);
	switch (op) {
	case OP_RESP:
		s.exp_stat_sn = get_be32(h + 24) + 1;
		finish(h);
		break;
	case OP_DATA_IN:
		if (h[1] & 1) {
			s.exp_stat_sn = get_be32(h + 24) + 1;
			finish(h);
		}
		break;
	case OP_R2T:
		queue_data_out(h);
		break;
	case OP_NOP_IN:
		break;
	default:
		die("unexpected PDU, opcode 0x%02x", op);
	}
}

/* What is left of the answer that is being received, in the order of the wire. */
static struct {
	uint8_t header[BHS + DIGEST], digest[DIGEST];
	uint32_t have, payload, digest_left, crc;
} in;

static void
check_digest(const uint8_t *digest, uint32_t crc, const char *what)
{
	if (get_le32(digest) != crc)
		die("the %s digest is wrong", what);
}

static uint32_t
take_header(const uint8_t *p, uint32_t n)
{
	uint32_t size = s.header_digest ? BHS + DIGEST : BHS;

	n = min_of(size - in.have, n);
	memcpy(in.header + in.have, p, n);
	in.have += n;
	if (in.have < size)
		return n;
	in.have = 0;
	if (s.header_digest)
		check_digest(in.header + BHS, crc32c(0, in.header, BHS), "header");
	in.payload = (get_be24(in.header + 5) + 3) & ~3u;
	in.digest_left = in.payload && s.data_digest ? DIGEST : 0;
	in.crc = 0;
	handle(in.header);
	return n;
}

/* Bytes of answers come in any pieces: a header is collected, a payload is passed over. */
static void
receive(void)
{
	static uint8_t buffer[RECV_BYTES];
	ssize_t got = recv(s.fd, buffer, sizeof(buffer), 0);
	uint32_t n;

	if (got <= 0)
		die("the target closed the connection");
	for (uint32_t at = 0; at < (uint32_t)got; at += n) {
		uint32_t left = (uint32_t)got - at;

		if (in.payload) {
			n = min_of(in.payload, left);
			if (s.data_digest)
				in.crc = crc32c(in.crc, buffer + at, n);
			in.payload -= n;
		} else if (in.digest_left) {
			n = min_of(in.digest_left, left);
			memcpy(in.digest + DIGEST - in.digest_left, buffer + at, n);
			in.digest_left -= n;
			if (!in.digest_left)
				check_digest(in.digest, in.crc, "data");
		} else {
			n = take_header(buffer + at, left);
		}
	}
}

static double
cpu_of(pid_t pid)
{
	char path[64], text[1024], *at;
	unsigned long user, system;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (!f || !fgets(text, sizeof(text), f))
		die("%s: %s", path, strerror(errno));
	fclose(f);
	at = strrchr(text, ')');
	if (!at ||
	    sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
		die("%s: not understood", path);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static bool
over(uint64_t until_ns)
{
	return opt.commands ? s.sent == opt.commands : clock_ns() >= until_ns;
}

static void
run(uint64_t until_ns)
{
	while (!over(until_ns)) {
		for (unsigned tag = 0; tag < opt.depth && (int32_t)(s.max_cmd_sn - s.cmd_sn) >= 0; tag++)
			if (!s.slots[tag].busy && !(opt.commands && s.sent == opt.commands))
				queue_command(tag);
		flush();
		if (!s.busy)
			die("the target closed its command window");
		receive();
	}
	while (s.busy) {
		flush();
		receive();
	}
}

static void
report(double took, double cpu)
{
	struct rusage usage;
	double client;

	getrusage(RUSAGE_SELF, &usage);
	client = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
		 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	printf("{\"job\": \"%s\", \"block\": %u, \"depth\": %u, \"iops\": %.0f, \"mb_s\": %.1f, "
	       "\"p50_us\": %llu, \"p99_us\": %llu, \"client_cpu\": %.2f",
	       opt.load->name, opt.block, opt.depth, (double)s.done / took,
	       (double)s.done * opt.block / took / 1e6,
	       (unsigned long long)histogram_quantile_us(&s.latency, 0.5),
	       (unsigned long long)histogram_quantile_us(&s.latency, 0.99), client / took);
	if (opt.pid)
		printf(", \"target_cpu\": %.2f, \"target_us_per_io\": %.2f", cpu / took,
		       cpu * 1e6 / (double)s.done);
	printf("}\n");
}

static void
usage(void)
{
	fprintf(stderr,
		"usage: iscsi_load --portal HOST:PORT --target IQN [--lun N] --job NAME [--block BYTES]\n"
		"                  [--depth N] [--seconds S | --commands N] [--pid PID-OF-TARGET] [--digests]\n"
		"jobs: randread randwrite seqread seqwrite fuawrite\n");
	exit(2);
}

static const char *
parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"portal", 1, NULL, 'p'},  {"target", 1, NULL, 't'}, {"lun", 1, NULL, 'l'},
		{"job", 1, NULL, 'j'},     {"block", 1, NULL, 'b'},  {"depth", 1, NULL, 'q'},
		{"seconds", 1, NULL, 's'}, {"pid", 1, NULL, 'P'},    {"commands", 1, NULL, 'c'},
		{"digests", 0, NULL, 'd'}, {NULL, 0, NULL, 0},
	};
	const char *portal = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			portal = optarg;
			break;
		case 't':
			opt.target = optarg;
			break;
		case 'l':
			opt.lun = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'j':
			for (size_t i = 0; i < ARRAY_SIZE(workloads); i++)
				if (!strcmp(workloads[i].name, optarg))
					opt.load = &workloads[i];
			break;
		case 'b':
			opt.block = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'q':
			opt.depth = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 's':
			opt.seconds = strtod(optarg, NULL);
			break;
		case 'c':
			opt.commands = strtoull(optarg, NULL, 10);
			break;
		case 'P':
			opt.pid = (pid_t)strtol(optarg, NULL, 10);
			break;
		case 'd':
			opt.digests = true;
			break;
		default:
			usage();
		}
	}
	if (!portal || !opt.target || !opt.load || opt.lun > 255 || !opt.depth || opt.depth > QD_MAX ||
	    opt.block < 512 || opt.block > BLOCK_MAX || optind != argc)
		usage();
	return portal;
}

int
main(int argc, char **argv)
{
	const char *portal = parse(argc, argv);
	uint64_t start, end;
	double cpu = 0;

	s.data = malloc(BLOCK_MAX);
	if (!s.data)
		die("out of memory");
	random_bytes(s.data, BLOCK_MAX);
	random_bytes(&s.random, sizeof(s.random));
	connect_to(portal);
	login();
	read_capacity(8);
	if (!opt.commands) {
		run(clock_ns() + 200000000u); /* warm up */
		s.done = 0;
		memset(&s.latency, 0, sizeof(s.latency));
	}
	if (opt.pid)
		cpu = cpu_of(opt.pid);
	start = clock_ns();
	run(start + (uint64_t)(opt.seconds * 1e9));
	end = clock_ns();
	report((double)(end - start) / 1e9, opt.pid ? cpu_of(opt.pid) - cpu : 0);
	return 0;
}
