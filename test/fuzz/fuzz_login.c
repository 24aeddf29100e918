/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any Login Requests, one after another, to the login machine.
 *
 * An input is a row of requests: flags (byte 1 of the header), a byte of oddities, length (2,
 * little-endian), text.
 *   oddities   1 another ISID, 2 a TSIH, 4 another CID, 8 another ITT, 16 another CmdSN, 32 version 1,
 *              64 the session is not there
 *
 * What must hold: an answer fits in one PDU; full only with transit, the names, and no error; what goes out
 * is key=value text again; nothing after an error.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/util.h"
#include "gateway/iscsi/login.h"
#include "test/fuzz/fuzz.h"

static bool no_session;

static int
find_target(void *arg, struct login *login)
{
	(void)arg;
	assert(*login->target && *login->initiator);
	return strstr(login->target, "none") ? -ENOENT : 0;
}

static int
find_session(void *arg, struct login *login)
{
	(void)arg;
	assert(login->tsih);
	return no_session ? -ESRCH : 0;
}

static const struct login_ops ops = {.find_target = find_target, .find_session = find_session};

static void
make_header(uint8_t *bhs, uint8_t flags, uint8_t odd, uint32_t len)
{
	memset(bhs, 0, ISCSI_BHS_LEN);
	bhs[0] = ISCSI_IMMEDIATE | ISCSI_LOGIN_REQUEST;
	bhs[1] = flags;
	bhs[3] = !!(odd & 32);
	put_be24(bhs + 5, len);
	bhs[8] = 0x80;
	bhs[13] = odd & 1;
	put_be16(bhs + 14, odd & 2);
	put_be32(bhs + 16, 5u + (odd & 8));
	put_be16(bhs + 20, odd & 4);
	put_be32(bhs + 24, 77u + (odd & 16));
	no_session = odd & 64;
}

static void
check_numbers(const struct params *params)
{
	for (int i = 0; i < PARAM_COUNT; i++) {
		if (param_table[i].max)
			assert(params->active[i] >= param_table[i].min &&
			       params->active[i] <= param_table[i].max);
	}
	assert(params->active[PARAM_ERROR_RECOVERY_LEVEL] == 0 && params->active[PARAM_MAX_CONNECTIONS] == 1);
	assert(params->active[PARAM_DATA_PDU_IN_ORDER] && params->active[PARAM_DATA_SEQUENCE_IN_ORDER]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct param_limits limits = {.max_recv_segment = 262144,
						   .max_burst = 1u << 20,
						   .first_burst = 262144,
						   .max_outstanding_r2t = 16};
	struct textbuf all;
	struct login login;
	bool ended = false;

	login_init(&login, &ops, NULL, &limits);
	textbuf_init(&all, 8 * LOGIN_TEXT_MAX);
	while (size >= 4 && !ended) {
		uint32_t len = min_of((uint32_t)get_le16(data + 2), (uint32_t)min_of(size - 4, (size_t)8192));
		uint8_t bhs[ISCSI_BHS_LEN];
		struct login_reply reply;

		make_header(bhs, data[0], data[1], len);
		login_request(&login, bhs, data + 4, len, &reply);
		data += 4 + len;
		size -= 4 + len;
		ended = reply.full || reply.status;
		assert(reply.text_len <= ISCSI_DEFAULT_SEGMENT);
		assert(!reply.status || (!reply.full && !reply.text_len && !reply.flags));
		assert(!reply.full ||
		       (reply.flags & ISCSI_LOGIN_TRANSIT && (reply.flags & 3) == ISCSI_STAGE_FULL));
		assert(!(reply.flags & ISCSI_LOGIN_CONTINUE) || !(reply.flags & ISCSI_LOGIN_TRANSIT));
		if (reply.full) {
			assert(login.named && *login.initiator && (login.discovery || *login.target));
			check_numbers(&login.params);
		}
		if (textbuf_add(&all, reply.text, reply.text_len) < 0)
			break;
		if (!(reply.flags & ISCSI_LOGIN_CONTINUE)) {
			static struct keys keys;

			/* an offer of more keys than one text may have is answered with as many */
			if (keys_parse(all.data, all.len, &keys) < 0)
				assert(keys.n == KEYS_PAIRS_MAX);
			textbuf_reset(&all);
		}
	}
	textbuf_fini(&all);
	login_fini(&login);
	return 0;
}
