/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/iscsi/status.h"

#include <string.h>

#include "common/err.h"
#include "common/util.h"

static const struct {
	int err;
	enum iscsi_login_status status;
} login_map[] = {
	{0, ISCSI_LOGIN_OK},
	{-EREMOTE, ISCSI_LOGIN_MOVED_FOR_NOW},
	{-EREMCHG, ISCSI_LOGIN_MOVED_FOR_GOOD},
	{LG_EPROTO, ISCSI_LOGIN_INITIATOR_ERROR},
	{-EINVAL, ISCSI_LOGIN_INITIATOR_ERROR},
	{-EMSGSIZE, ISCSI_LOGIN_INITIATOR_ERROR},
	{-EACCES, ISCSI_LOGIN_AUTH_FAILED},
	{-EPERM, ISCSI_LOGIN_FORBIDDEN},
	{-ENOENT, ISCSI_LOGIN_NOT_FOUND},
	{-ENODEV, ISCSI_LOGIN_TARGET_REMOVED},
	{-EPROTONOSUPPORT, ISCSI_LOGIN_BAD_VERSION},
	{-EUSERS, ISCSI_LOGIN_TOO_MANY_CONNECTIONS},
	{-ENODATA, ISCSI_LOGIN_MISSING_PARAMETER},
	{-ESRCH, ISCSI_LOGIN_NO_SESSION},
	{-EOPNOTSUPP, ISCSI_LOGIN_BAD_SESSION_TYPE},
	{-EBADMSG, ISCSI_LOGIN_INVALID_REQUEST},
	{LG_ESTOPPING, ISCSI_LOGIN_UNAVAILABLE},
	{LG_EFENCED, ISCSI_LOGIN_UNAVAILABLE},
	{-EAGAIN, ISCSI_LOGIN_UNAVAILABLE},
	{-ENOMEM, ISCSI_LOGIN_OUT_OF_RESOURCES},
};

enum iscsi_login_status
login_status_of(int err)
{
	for (size_t i = 0; i < ARRAY_SIZE(login_map); i++) {
		if (login_map[i].err == err)
			return login_map[i].status;
	}
	return ISCSI_LOGIN_TARGET_ERROR;
}

static const struct {
	uint16_t status;
	const char *text;
} login_texts[] = {
	{ISCSI_LOGIN_OK, "success"},
	{ISCSI_LOGIN_MOVED_FOR_NOW, "target moved temporarily"},
	{ISCSI_LOGIN_MOVED_FOR_GOOD, "target moved permanently"},
	{ISCSI_LOGIN_INITIATOR_ERROR, "initiator error"},
	{ISCSI_LOGIN_AUTH_FAILED, "authentication failure"},
	{ISCSI_LOGIN_FORBIDDEN, "not authorized for this target"},
	{ISCSI_LOGIN_NOT_FOUND, "target not found"},
	{ISCSI_LOGIN_TARGET_REMOVED, "target removed"},
	{ISCSI_LOGIN_BAD_VERSION, "unsupported version"},
	{ISCSI_LOGIN_TOO_MANY_CONNECTIONS, "too many connections"},
	{ISCSI_LOGIN_MISSING_PARAMETER, "missing parameter"},
	{ISCSI_LOGIN_CANNOT_INCLUDE, "cannot be included in the session"},
	{ISCSI_LOGIN_BAD_SESSION_TYPE, "session type not supported"},
	{ISCSI_LOGIN_NO_SESSION, "session does not exist"},
	{ISCSI_LOGIN_INVALID_REQUEST, "invalid request during login"},
	{ISCSI_LOGIN_TARGET_ERROR, "target error"},
	{ISCSI_LOGIN_UNAVAILABLE, "service unavailable"},
	{ISCSI_LOGIN_OUT_OF_RESOURCES, "out of resources"},
};

const char *
login_status_text(uint16_t status)
{
	for (size_t i = 0; i < ARRAY_SIZE(login_texts); i++) {
		if (login_texts[i].status == status)
			return login_texts[i].text;
	}
	return "unknown status";
}

const char *
reject_reason_text(uint8_t reason)
{
	static const char *const texts[] = {
		[ISCSI_REJECT_DATA_DIGEST] = "data digest error",
		[ISCSI_REJECT_SNACK] = "SNACK",
		[ISCSI_REJECT_PROTOCOL] = "protocol error",
		[ISCSI_REJECT_NOT_SUPPORTED] = "command not supported",
		[ISCSI_REJECT_TOO_MANY_IMMEDIATE] = "too many immediate commands",
		[ISCSI_REJECT_TASK_IN_PROGRESS] = "task in progress",
		[ISCSI_REJECT_INVALID_DATA_ACK] = "invalid data acknowledgement",
		[ISCSI_REJECT_INVALID_FIELD] = "invalid PDU field",
		[ISCSI_REJECT_OUT_OF_RESOURCES] = "out of resources",
		[ISCSI_REJECT_NEGOTIATION_RESET] = "negotiation reset",
		[ISCSI_REJECT_WAITING_FOR_LOGOUT] = "waiting for logout",
	};

	return reason < ARRAY_SIZE(texts) && texts[reason] ? texts[reason] : "unknown reason";
}

void
iscsi_condition_sense(enum iscsi_condition condition, uint8_t sense[ISCSI_CONDITION_SENSE_LEN])
{
	/* 11.4.7.2: all are ABORTED COMMAND */
	static const struct {
		uint8_t asc, ascq;
	} codes[] = {
		[ISCSI_COND_UNEXPECTED_DATA] = {0x0c, 0x0c},
		[ISCSI_COND_INCORRECT_AMOUNT] = {0x0c, 0x0d},
		[ISCSI_COND_CRC_ERROR] = {0x47, 0x05},
	};

	memset(sense, 0, ISCSI_CONDITION_SENSE_LEN);
	sense[0] = 0x70;
	sense[2] = 0x0b;
	sense[7] = ISCSI_CONDITION_SENSE_LEN - 8;
	sense[12] = codes[condition].asc;
	sense[13] = codes[condition].ascq;
}

static const struct {
	const char *name;
	bool error;
	const char *text;
} close_table[CLOSE_COUNT] = {
#define CLOSE(id, name, error, text) [CLOSE_##id] = {name, error, text},
	CLOSE_REASONS(CLOSE)
#undef CLOSE
};

const char *
close_reason_name(enum close_reason reason)
{
	return close_table[reason].name;
}

const char *
close_reason_text(enum close_reason reason)
{
	return close_table[reason].text;
}

bool
close_reason_is_error(enum close_reason reason)
{
	return close_table[reason].error;
}
