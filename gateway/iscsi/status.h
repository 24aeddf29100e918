/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one map from our errors and conditions to what iSCSI says about them:
 * login status, reject reason, the sense data of clause 11.4.7.2, and the
 * reasons for which a connection ends.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_GATEWAY_ISCSI_STATUS_H
#define LUNGATE_GATEWAY_ISCSI_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/iscsi/iscsi_fmt.h"

/** The login status for an error of ours; ISCSI_LOGIN_TARGET_ERROR for one that has no row. */
enum iscsi_login_status login_status_of(int err);
const char *login_status_text(uint16_t status);
const char *reject_reason_text(uint8_t reason);

/** The iSCSI conditions that end a SCSI command, 11.4.7.2. */
enum iscsi_condition {
	ISCSI_COND_NONE,
	ISCSI_COND_UNEXPECTED_DATA,  /* unsolicited data where none was allowed */
	ISCSI_COND_INCORRECT_AMOUNT, /* more or less data than was asked for */
	ISCSI_COND_CRC_ERROR,        /* a wrong data digest, or a Data-Out that is missing before another */
	ISCSI_COND_TOO_LARGE,        /* more than all of our memory: status BUSY, no sense data */
};
#define ISCSI_CONDITION_SENSE_LEN 18
/** Fixed-format sense data. */
void iscsi_condition_sense(enum iscsi_condition condition, uint8_t sense[ISCSI_CONDITION_SENSE_LEN]);

/** Why a connection ended.  CLOSE(id, name, is an error, words) */
#define CLOSE_REASONS(CLOSE)                                                                                 \
	CLOSE(PEER, "peer", false, "closed by the initiator")                                                \
	CLOSE(LOGOUT, "logout", false, "logged out")                                                         \
	CLOSE(REINSTATED, "reinstated", false, "the initiator logged in anew")                               \
	CLOSE(STOPPING, "stopping", false, "lungate stops")                                                  \
	CLOSE(TARGET_REMOVED, "target_removed", false, "the target was removed")                             \
	CLOSE(PORTAL_REMOVED, "portal_removed", false, "its portal was removed, or leads elsewhere now")     \
	CLOSE(KICKED, "kicked", false, "the administrator ended the session")                                \
	CLOSE(REDIRECTED, "redirected", false, "the login was sent elsewhere")                               \
	CLOSE(ACCESS, "access_withdrawn", false, "its access was taken away")                              \
	CLOSE(TARGET_RESET, "target_reset", false, "target cold reset")                                      \
	CLOSE(IDLE, "idle", false, "idle for too long")                                                      \
	CLOSE(SOCKET, "socket_error", true, "the socket failed")                                             \
	CLOSE(LIMIT, "connection_limit", true, "too many connections")                                       \
	CLOSE(CROWDED, "login_crowded", true, "more logins at a time than max_logins: the oldest goes")      \
	CLOSE(LOGIN_FAILED, "login_failed", true, "the login was refused")                                   \
	CLOSE(LOGIN_TIMEOUT, "login_timeout", true, "no login in time")                                      \
	CLOSE(NOP_TIMEOUT, "nop_timeout", true, "no answer to a NOP-In")                                     \
	CLOSE(UNACKNOWLEDGED, "unacknowledged", true, "responses that others wait for were not acknowledged") \
	CLOSE(STALLED, "stalled", true, "data that was asked for did not come, or answers were not read")    \
	CLOSE(NOT_ISCSI, "not_iscsi", true, "the first bytes are no iSCSI login")                            \
	CLOSE(OVERSIZE, "oversize", true, "a PDU is longer than was agreed")                                 \
	CLOSE(HEADER_DIGEST, "header_digest", true, "a header digest is wrong")                              \
	CLOSE(UNRECOVERED, "unrecovered", true, "its tasks were not taken over in time")                     \
	CLOSE(DATA_DIGEST, "data_digest", true, "a data digest is wrong")                                    \
	CLOSE(PROTOCOL, "protocol", true, "the protocol was broken")                                         \
	CLOSE(NO_MEMORY, "no_memory", true, "out of memory")

enum close_reason {
#define CLOSE(id, name, error, text) CLOSE_##id,
	CLOSE_REASONS(CLOSE)
#undef CLOSE
		CLOSE_COUNT
};
const char *close_reason_name(enum close_reason reason);
const char *close_reason_text(enum close_reason reason);
bool close_reason_is_error(enum close_reason reason);

#endif
