/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/rawiscsi.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/util.h"

#define RAW_DATA_FIRST 16384u

enum {
	NOP_OUT = 0x00,
	SCSI_COMMAND = 0x01,
	TMF_REQUEST = 0x02,
	LOGIN_REQUEST = 0x03,
	DATA_OUT = 0x05,
	LOGOUT_REQUEST = 0x06,
	NOP_IN = 0x20,
	SCSI_RESPONSE = 0x21,
	TMF_RESPONSE = 0x22,
	LOGIN_RESPONSE = 0x23,
	DATA_IN = 0x25,
	LOGOUT_RESPONSE = 0x26,
	R2T = 0x31,
};

int
raw_connect(struct raw *raw, const char *address)
{
	return raw_connect_from(raw, address, NULL);
}

static int
bind_to(int fd, const char *from)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};

	if (inet_pton(AF_INET, from, &sin.sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	return bind(fd, (const struct sockaddr *)&sin, sizeof(sin));
}

int
raw_connect_from(struct raw *raw, const char *address, const char *from)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *ai;
	const char *colon = strrchr(address, ':');
	char host[64];
	size_t n = (size_t)(colon - address);
	int one = 1, rc = 0, fd;

	memset(raw, 0, sizeof(*raw));
	raw->fd = -1;
	memcpy(host, address, n);
	host[n] = 0;
	if (host[0] == '[') {
		host[n - 1] = 0;
		memmove(host, host + 1, n - 1);
	}
	if (getaddrinfo(host, colon + 1, &hints, &ai) != 0)
		return -EINVAL;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || (from && bind_to(fd, from) < 0) || connect(fd, ai->ai_addr, ai->ai_addrlen) < 0)
		rc = -errno;
	freeaddrinfo(ai);
	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		return rc;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return raw_attach(raw, fd);
}

int
raw_attach(struct raw *raw, int fd)
{
	*raw = (struct raw){
		.fd = fd,
		.isid = {0x80, 0, 0, 0, 0, 1},
		.itt = 1,
		.cmdsn = 100,
		.max_send = 8192,
		.first_burst = 65536,
		.immediate = true,
		.data = malloc(RAW_DATA_FIRST),
		.room = RAW_DATA_FIRST,
	};
	if (raw->data)
		return 0;
	raw_close(raw);
	return -ENOMEM;
}

void
raw_close(struct raw *raw)
{
	if (raw->fd >= 0)
		close(raw->fd);
	raw->fd = -1;
	free(raw->data);
	raw->data = NULL;
}

void (*raw_instead_of_waiting)(void);

int
raw_bytes(struct raw *raw, const void *p, size_t n)
{
	const char *at = p;
	bool tried = false;

	while (n) {
		ssize_t rc = send(raw->fd, at, n, MSG_NOSIGNAL | (raw_instead_of_waiting ? MSG_DONTWAIT : 0));

		if (rc < 0 && errno == EINTR)
			continue;
		if (rc < 0 && errno == EAGAIN && raw_instead_of_waiting && !tried) {
			raw_instead_of_waiting();
			tried = true;
			continue;
		}
		tried = false;
		if (rc < 0)
			return -errno;
		at += rc;
		n -= (size_t)rc;
	}
	return 0;
}

int
raw_send(struct raw *raw, uint8_t bhs[RAW_BHS], const void *data, uint32_t len)
{
	uint8_t *out = malloc(RAW_BHS + 4 + len + 7);
	uint32_t n = RAW_BHS, pad = -len & 3;
	int rc;

	if (!out)
		return -ENOMEM;
	put_be24(bhs + 5, len);
	memcpy(out, bhs, RAW_BHS);
	if (raw->header_digest) {
		put_le32(out + n, crc32c(0, out, RAW_BHS) ^ raw->spoil_header);
		raw->spoil_header = false;
		n += 4;
	}
	if (len) {
		memcpy(out + n, data, len);
		memset(out + n + len, 0, pad);
		if (raw->data_digest)
			put_le32(out + n + len + pad, crc32c(0, out + n, len + pad) ^ raw->spoil_data);
		n += len + pad + (raw->data_digest ? 4 : 0);
	}
	if (len)
		raw->spoil_data = false;
	rc = raw_bytes(raw, out, n);
	free(out);
	return rc;
}

static int
read_full(struct raw *raw, void *p, size_t n, uint64_t until_ns)
{
	char *at = p;

	while (n) {
		struct pollfd pfd = {.fd = raw->fd, .events = POLLIN};
		uint64_t now = clock_ns();
		ssize_t rc;

		if (raw_instead_of_waiting && poll(&pfd, 1, 0) == 0) {
			raw_instead_of_waiting();
			now = until_ns - 1; /* one look */
		}
		if (now >= until_ns || poll(&pfd, 1, (int)((until_ns - now) / 1000000) + 1) == 0)
			return -ETIMEDOUT;
		rc = recv(raw->fd, at, n, 0);
		if (rc == 0 || (rc < 0 && errno == ECONNRESET))
			return -EPIPE;
		if (rc < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (rc < 0)
			continue;
		at += rc;
		n -= (size_t)rc;
	}
	return 0;
}

static int
recv_until(struct raw *raw, uint64_t until)
{
	uint8_t digest[4], pad[3];
	uint32_t npad, crc;
	int rc = read_full(raw, raw->bhs, RAW_BHS, until);

	if (rc < 0)
		return rc;
	if (raw->header_digest) {
		rc = read_full(raw, digest, 4, until);
		if (rc == 0 && crc32c(0, raw->bhs, RAW_BHS) != get_le32(digest))
			rc = -EBADMSG;
		if (rc < 0)
			return rc;
	}
	raw->len = get_be24(raw->bhs + 5);
	if (raw->len > RAW_DATA_MAX)
		return -EMSGSIZE;
	if (raw->len > raw->room) {
		uint8_t *more = realloc(raw->data, RAW_DATA_MAX);

		if (!more)
			return -ENOMEM;
		raw->data = more;
		raw->room = RAW_DATA_MAX;
	}
	npad = -raw->len & 3;
	rc = read_full(raw, raw->data, raw->len, until);
	if (rc == 0)
		rc = read_full(raw, pad, npad, until);
	if (rc == 0 && raw->data_digest && raw->len) {
		crc = crc32c(crc32c(0, raw->data, raw->len), pad, npad);
		rc = read_full(raw, digest, 4, until);
		if (rc == 0 && crc != get_le32(digest))
			rc = -EBADMSG;
	}
	return rc;
}

int
raw_recv_within(struct raw *raw, int ms)
{
	int rc = recv_until(raw, clock_ns() + (uint64_t)ms * 1000000);
	uint8_t opcode = raw->bhs[0] & 0x3f;

	if (rc < 0)
		return rc;
	raw->expcmdsn = get_be32(raw->bhs + 28);
	raw->maxcmdsn = get_be32(raw->bhs + 32);
	/* these do not carry a StatSN of their own */
	if (opcode == R2T || (opcode == DATA_IN && !(raw->bhs[1] & 1)) ||
	    (opcode == NOP_IN && get_be32(raw->bhs + 16) == UINT32_MAX))
		return 0;
	raw->expstatsn = get_be32(raw->bhs + 24) + 1;
	return 0;
}

int
raw_recv(struct raw *raw)
{
	return raw_recv_within(raw, RAW_WAIT_MS);
}

int
raw_wait_closed(struct raw *raw)
{
	uint64_t until = clock_ns() + (uint64_t)RAW_WAIT_MS * 1000000;
	char c[4096];
	int rc;

	do
		rc = read_full(raw, c, 1, until);
	while (rc == 0);
	return rc == -EPIPE ? 0 : rc;
}

uint32_t
raw_request(struct raw *raw, uint8_t bhs[RAW_BHS], uint8_t opcode, uint8_t flags, bool immediate)
{
	memset(bhs, 0, RAW_BHS);
	bhs[0] = (uint8_t)(opcode | (immediate ? 0x40 : 0));
	bhs[1] = flags;
	put_be32(bhs + 16, raw->itt);
	put_be32(bhs + 24, raw->cmdsn);
	put_be32(bhs + 28, raw->expstatsn);
	if (!immediate)
		raw->cmdsn++;
	return raw->itt++;
}

int
raw_ack(struct raw *raw)
{
	uint8_t bhs[RAW_BHS] = {0x40 | NOP_OUT, 0x80};

	put_be32(bhs + 16, UINT32_MAX);
	put_be32(bhs + 20, UINT32_MAX);
	put_be32(bhs + 24, raw->cmdsn);
	put_be32(bhs + 28, raw->expstatsn);
	return raw_send(raw, bhs, NULL, 0);
}

int
raw_login_step(struct raw *raw, uint8_t flags, const char *text, size_t len)
{
	uint8_t bhs[RAW_BHS] = {0x40 | LOGIN_REQUEST, flags};
	int rc;

	memcpy(bhs + 8, raw->isid, 6);
	put_be16(bhs + 14, raw->tsih);
	put_be32(bhs + 16, 0xcafe);
	put_be16(bhs + 20, raw->cid);
	put_be32(bhs + 24, raw->cmdsn);
	put_be32(bhs + 28, raw->expstatsn);
	rc = raw_send(raw, bhs, text, (uint32_t)len);
	if (rc == 0)
		rc = raw_recv(raw);
	if (rc < 0)
		return rc;
	if ((raw->bhs[0] & 0x3f) != LOGIN_RESPONSE)
		return -EPROTO;
	return get_be16(raw->bhs + 36);
}

int
raw_login(struct raw *raw, const char *initiator, const char *target, const char *keys, size_t len)
{
	char text[4096];
	size_t n = 0;
	int rc;

	n += (size_t)snprintf(text + n, sizeof(text) - n, "InitiatorName=%s", initiator) + 1;
	n += (size_t)snprintf(text + n, sizeof(text) - n, "SessionType=%s", target ? "Normal" : "Discovery") +
	     1;
	if (target)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "TargetName=%s", target) + 1;
	memcpy(text + n, keys, len);
	rc = raw_login_step(raw, 0x87, text, n + len);
	if (rc != 0)
		return rc;
	if (raw->bhs[1] != 0x87)
		return -EPROTO;
	raw->tsih = get_be16(raw->bhs + 14);
	return 0;
}

int
raw_logout(struct raw *raw)
{
	uint8_t bhs[RAW_BHS];
	int rc;

	raw_request(raw, bhs, LOGOUT_REQUEST, 0x80, true);
	rc = raw_send(raw, bhs, NULL, 0);
	do {
		if (rc == 0)
			rc = raw_recv(raw);
	} while (rc == 0 && (raw->bhs[0] & 0x3f) != LOGOUT_RESPONSE);
	if (rc < 0)
		return rc;
	if (raw->bhs[2] != 0)
		return -EPROTO;
	return raw_wait_closed(raw);
}

uint32_t
raw_command(struct raw *raw, unsigned lun, const uint8_t *cdb, unsigned cdb_len, uint8_t flags, uint32_t edtl,
	    const void *data, uint32_t len)
{
	uint8_t bhs[RAW_BHS];
	uint32_t itt = raw_request(raw, bhs, SCSI_COMMAND, flags, false);

	bhs[9] = (uint8_t)lun;
	put_be32(bhs + 20, edtl);
	memcpy(bhs + 32, cdb, min_of(cdb_len, 16u));
	(void)raw_send(raw, bhs, data, len); /* what is wrong shows when the answer is awaited */
	return itt;
}

int
raw_data_out(struct raw *raw, uint32_t itt, uint32_t ttt, uint32_t datasn, uint32_t offset, bool final,
	     const void *data, uint32_t len)
{
	uint8_t bhs[RAW_BHS] = {DATA_OUT, final ? 0x80 : 0};

	put_be32(bhs + 16, itt);
	put_be32(bhs + 20, ttt);
	put_be32(bhs + 28, raw->expstatsn);
	put_be32(bhs + 36, datasn);
	put_be32(bhs + 40, offset);
	return raw_send(raw, bhs, data, len);
}

int
raw_finish(struct raw *raw, uint32_t itt, void *in, uint32_t room, uint32_t *ret_got)
{
	uint32_t got = 0;

	for (;;) {
		int rc = raw_recv(raw);
		uint8_t opcode = raw->bhs[0] & 0x3f;

		if (rc < 0)
			return rc;
		if (opcode == NOP_IN)
			continue;
		if (get_be32(raw->bhs + 16) != itt)
			return -EPROTO;
		if (opcode == DATA_IN) {
			uint32_t offset = get_be32(raw->bhs + 40);

			if (offset != got || (in && raw->len > room - offset))
				return -EPROTO;
			if (in)
				memcpy((char *)in + offset, raw->data, raw->len);
			got += raw->len;
			if (!(raw->bhs[1] & 1))
				continue;
		} else if (opcode != SCSI_RESPONSE) {
			return -EPROTO;
		}
		if (ret_got)
			*ret_got = got;
		return raw->bhs[3];
	}
}

unsigned
raw_sense(const struct raw *raw)
{
	if ((raw->bhs[0] & 0x3f) != SCSI_RESPONSE || raw->len < 2 + 14)
		return 0;
	return (unsigned)raw->data[2 + 12] << 8 | raw->data[2 + 13];
}

void
raw_cdb_rw16(uint8_t cdb[16], bool write, uint64_t lba, uint32_t blocks)
{
	memset(cdb, 0, 16);
	cdb[0] = write ? 0x8a : 0x88;
	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, blocks);
}

int
raw_read(struct raw *raw, unsigned lun, uint64_t lba, uint32_t blocks, uint32_t block_size, void *in)
{
	uint32_t len = blocks * block_size, got = 0, itt;
	uint8_t cdb[16];
	int rc;

	raw_cdb_rw16(cdb, false, lba, blocks);
	itt = raw_command(raw, lun, cdb, 16, 0xc1, len, NULL, 0);
	rc = raw_finish(raw, itt, in, len, &got);
	return rc == 0 && got != len ? -EPROTO : rc;
}

/* Send [from, from + len) of a transfer as Data-Out PDUs. */
static int
send_sequence(struct raw *raw, uint32_t itt, uint32_t ttt, uint32_t from, uint32_t len, const uint8_t *out)
{
	uint32_t datasn = 0;

	for (uint32_t at = 0; at < len || !datasn; datasn++) {
		uint32_t n = min_of(len - at, raw->max_send);
		int rc = raw_data_out(raw, itt, ttt, datasn, from + at, at + n == len, out + from + at, n);

		if (rc < 0)
			return rc;
		at += n;
	}
	return 0;
}

static int
recv_but_pings(struct raw *raw)
{
	int rc;

	do
		rc = raw_recv(raw);
	while (rc == 0 && (raw->bhs[0] & 0x3f) == NOP_IN && get_be32(raw->bhs + 16) == UINT32_MAX);
	return rc;
}

/* R2Ts that are there already are collected before the first is served. */
static int
serve_r2ts(struct raw *raw, uint32_t itt, const uint8_t *out)
{
	struct {
		uint32_t ttt, offset, len;
	} r2t[64];
	unsigned n = 0;
	int rc = recv_but_pings(raw);

	while (rc == 0 && (raw->bhs[0] & 0x3f) == R2T && n < ARRAY_SIZE(r2t)) {
		if (get_be32(raw->bhs + 16) != itt || get_be32(raw->bhs + 36) != raw->r2ts)
			return -EPROTO;
		r2t[n].ttt = get_be32(raw->bhs + 20);
		r2t[n].offset = get_be32(raw->bhs + 40);
		r2t[n].len = get_be32(raw->bhs + 44);
		n++;
		raw->r2ts++;
		rc = raw_recv_within(raw, 20);
	}
	raw->r2ts_at_once = max_of(raw->r2ts_at_once, n);
	if (n && rc == -ETIMEDOUT)
		rc = 0;
	for (unsigned i = 0; rc == 0 && i < n; i++)
		rc = send_sequence(raw, itt, r2t[i].ttt, r2t[i].offset, r2t[i].len, out);
	return rc < 0 ? rc : n ? 1 : 0;
}

int
raw_write(struct raw *raw, unsigned lun, uint64_t lba, uint32_t blocks, uint32_t block_size, const void *out)
{
	uint32_t len = blocks * block_size, first = min_of(len, raw->first_burst), itt;
	uint32_t now = raw->immediate ? min_of(first, raw->max_send) : 0;
	bool more = raw->unsolicited && now < first;
	uint8_t cdb[16];
	int rc = 0;

	raw->r2ts = raw->r2ts_at_once = 0;
	raw_cdb_rw16(cdb, true, lba, blocks);
	itt = raw_command(raw, lun, cdb, 16, more ? 0x21 : 0xa1, len, out, now);
	if (more)
		rc = send_sequence(raw, itt, UINT32_MAX, now, first - now, out);
	if (rc < 0)
		return rc;
	while ((rc = serve_r2ts(raw, itt, out)) == 1)
		;
	if (rc < 0)
		return rc;
	if ((raw->bhs[0] & 0x3f) != SCSI_RESPONSE || get_be32(raw->bhs + 16) != itt)
		return -EPROTO;
	return raw->bhs[3];
}

int
raw_ready(struct raw *raw, unsigned lun)
{
	static const uint8_t tur[6];
	int rc = 0;

	for (int i = 0; i < 16; i++) {
		rc = raw_finish(raw, raw_command(raw, lun, tur, 6, 0x81, 0, NULL, 0), NULL, 0, NULL);
		if (rc != 2)
			break;
	}
	return rc;
}

int
raw_tmf(struct raw *raw, uint8_t function, unsigned lun, uint32_t ref_itt, uint32_t ref_cmdsn)
{
	uint8_t bhs[RAW_BHS];
	uint32_t itt = raw_request(raw, bhs, TMF_REQUEST, (uint8_t)(0x80 | function), true);
	int rc;

	bhs[9] = (uint8_t)lun;
	put_be32(bhs + 20, ref_itt);
	put_be32(bhs + 32, ref_cmdsn);
	rc = raw_send(raw, bhs, NULL, 0);
	do {
		if (rc == 0)
			rc = raw_recv(raw);
		if (rc < 0)
			return rc;
	} while ((raw->bhs[0] & 0x3f) != TMF_RESPONSE);
	return get_be32(raw->bhs + 16) == itt ? raw->bhs[2] : -EPROTO;
}
