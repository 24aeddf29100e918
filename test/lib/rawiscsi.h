/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An initiator that speaks raw PDUs: builds them as told, right or wrong, and
 * shows what comes back.  Blocking, with a time limit on every wait.
 *
 * Threads: one a connection.
 */
#ifndef LUNGATE_TEST_LIB_RAWISCSI_H
#define LUNGATE_TEST_LIB_RAWISCSI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_BHS 48
#define RAW_DATA_MAX (1u << 20)
#define RAW_WAIT_MS 8000

struct raw {
	int fd;
	uint8_t isid[6];
	uint16_t tsih, cid;
	uint32_t itt; /* of the next request */
	uint32_t cmdsn, expstatsn;
	uint32_t expcmdsn, maxcmdsn; /* as last told */
	bool header_digest, data_digest;
	bool spoil_header, spoil_data; /* the next PDU's digest: once */
	/* what came last */
	uint8_t bhs[RAW_BHS];
	uint8_t *data;
	uint32_t len, room;
	/* how raw_transfer() writes */
	uint32_t max_send, first_burst;
	bool immediate, unsolicited;
	unsigned r2ts;         /* seen by the last transfer */
	unsigned r2ts_at_once; /* at most outstanding */
};

/** address as "127.0.0.1:3260" or "[::1]:3260"; 0 or a negative errno. */
int raw_connect(struct raw *raw, const char *address);
/** From this IPv4 address, a numeric one of this machine. */
int raw_connect_from(struct raw *raw, const char *address, const char *from);
/** Over a socket that is connected; takes it. */
int raw_attach(struct raw *raw, int fd);
void raw_close(struct raw *raw);

/** For who has the other side on the same thread: runs it until it has nothing to do, instead of a wait.  What has not come
 *  then will not come: -ETIMEDOUT; what it does not take: -EAGAIN.  NULL: waits are waits. */
extern void (*raw_instead_of_waiting)(void);

/** Bytes as they are. */
int raw_bytes(struct raw *raw, const void *p, size_t n);
/** A PDU: the data length is set, padding and digests are added. */
int raw_send(struct raw *raw, uint8_t bhs[RAW_BHS], const void *data, uint32_t len);
/** The next PDU, into bhs, data, len.  0, -ETIMEDOUT, -EPIPE (closed), -EBADMSG (a wrong digest). */
int raw_recv(struct raw *raw);
int raw_recv_within(struct raw *raw, int ms);
/** 0 when the peer closes (what comes before is skipped), -ETIMEDOUT. */
int raw_wait_closed(struct raw *raw);

/** Fill in a request: tags and numbers; non-immediate ones use up a CmdSN.  Returns its ITT. */
uint32_t raw_request(struct raw *raw, uint8_t bhs[RAW_BHS], uint8_t opcode, uint8_t flags, bool immediate);

/** Say what has come, as a NOP-Out that wants no answer. */
int raw_ack(struct raw *raw);

/** One Login Request and its answer: the status, or negative. */
int raw_login_step(struct raw *raw, uint8_t flags, const char *text, size_t len);
/** A whole login in one step.  target NULL = discovery; keys: more pairs, each with its NUL. */
int raw_login(struct raw *raw, const char *initiator, const char *target, const char *keys, size_t len);
/** Logout of the session, its answer, the end of the connection: 0 or negative. */
int raw_logout(struct raw *raw);

/** Send a SCSI Command PDU. Returns its ITT. */
uint32_t raw_command(struct raw *raw, unsigned lun, const uint8_t *cdb, unsigned cdb_len, uint8_t flags,
		     uint32_t edtl, const void *data, uint32_t len);
int raw_data_out(struct raw *raw, uint32_t itt, uint32_t ttt, uint32_t datasn, uint32_t offset, bool final,
		 const void *data, uint32_t len);
/** Wait for the end of a command: its SCSI status, or negative.  Data-In goes to `in` (may be NULL). */
int raw_finish(struct raw *raw, uint32_t itt, void *in, uint32_t room, uint32_t *ret_got);
/** ASC << 8 | ASCQ of the response that raw_finish() saw; 0 when it had no sense data. */
unsigned raw_sense(const struct raw *raw);

/** READ(16) or WRITE(16), whole; the SCSI status. */
int raw_read(struct raw *raw, unsigned lun, uint64_t lba, uint32_t blocks, uint32_t block_size, void *in);
int raw_write(struct raw *raw, unsigned lun, uint64_t lba, uint32_t blocks, uint32_t block_size,
	      const void *out);
void raw_cdb_rw16(uint8_t cdb[16], bool write, uint64_t lba, uint32_t blocks);
/** Until no unit attention is pending; the last status. */
int raw_ready(struct raw *raw, unsigned lun);

/** A task management request and its response code; negative on trouble. */
int raw_tmf(struct raw *raw, uint8_t function, unsigned lun, uint32_t ref_itt, uint32_t ref_cmdsn);

#endif
