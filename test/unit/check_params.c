/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Offers and the answers that RFC 7143 clause 13 wants, for every key. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "gateway/iscsi/params.h"

static const struct param_limits limits = {
	.max_recv_segment = 262144, .max_burst = 1u << 20, .first_burst = 262144, .max_outstanding_r2t = 16};

enum setting { NORMAL, DISCOVERY, NOT_LEADING, IN_SECURITY, IN_FULL };

struct row {
	enum setting setting;
	const char *key, *offer;
	const char *answer; /* NULL: none */
	enum param param;   /* to be looked at, or PARAM_COUNT */
	uint32_t active;
};

static const struct row rows[] = {
	{NORMAL, "HeaderDigest", "None", "None", PARAM_HEADER_DIGEST, 0},
	{NORMAL, "HeaderDigest", "CRC32C,None", "CRC32C", PARAM_HEADER_DIGEST, 1},
	{NORMAL, "HeaderDigest", "None,CRC32C", "None", PARAM_HEADER_DIGEST, 0},
	{NORMAL, "HeaderDigest", "Y-com.example.sum,CRC32C", "CRC32C", PARAM_HEADER_DIGEST, 1},
	{NORMAL, "HeaderDigest", "MD5", "Reject", PARAM_HEADER_DIGEST, 0},
	{NORMAL, "HeaderDigest", "crc32c", "Reject", PARAM_HEADER_DIGEST, 0},
	{DISCOVERY, "HeaderDigest", "CRC32C", "CRC32C", PARAM_HEADER_DIGEST, 1},
	{NOT_LEADING, "HeaderDigest", "CRC32C", "CRC32C", PARAM_HEADER_DIGEST, 1},
	{IN_SECURITY, "HeaderDigest", "CRC32C", "Reject", PARAM_HEADER_DIGEST, 0},
	{IN_FULL, "HeaderDigest", "CRC32C", "Reject", PARAM_HEADER_DIGEST, 0},
	{NORMAL, "DataDigest", "CRC32C,None", "CRC32C", PARAM_DATA_DIGEST, 1},
	{NORMAL, "DataDigest", "None", "None", PARAM_DATA_DIGEST, 0},
	{NORMAL, "DataDigest", "", "Reject", PARAM_DATA_DIGEST, 0},

	{NORMAL, "MaxConnections", "8", "1", PARAM_MAX_CONNECTIONS, 1},
	{NORMAL, "MaxConnections", "1", "1", PARAM_MAX_CONNECTIONS, 1},
	{NORMAL, "MaxConnections", "0", "Reject", PARAM_MAX_CONNECTIONS, 1},
	{NORMAL, "MaxConnections", "65536", "Reject", PARAM_MAX_CONNECTIONS, 1},
	{DISCOVERY, "MaxConnections", "1", "Irrelevant", PARAM_MAX_CONNECTIONS, 1},
	{NOT_LEADING, "MaxConnections", "1", "Reject", PARAM_MAX_CONNECTIONS, 1},

	{NORMAL, "InitialR2T", "Yes", "Yes", PARAM_INITIAL_R2T, 1},
	{NORMAL, "InitialR2T", "No", "No", PARAM_INITIAL_R2T, 0},
	{NORMAL, "InitialR2T", "no", "Reject", PARAM_INITIAL_R2T, 1},
	{DISCOVERY, "InitialR2T", "No", "Irrelevant", PARAM_INITIAL_R2T, 1},
	{IN_FULL, "InitialR2T", "No", "Reject", PARAM_INITIAL_R2T, 1},
	{NORMAL, "ImmediateData", "Yes", "Yes", PARAM_IMMEDIATE_DATA, 1},
	{NORMAL, "ImmediateData", "No", "No", PARAM_IMMEDIATE_DATA, 0},
	{DISCOVERY, "ImmediateData", "No", "Irrelevant", PARAM_IMMEDIATE_DATA, 1},

	{NORMAL, "MaxRecvDataSegmentLength", "65536", NULL, PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, 65536},
	{NORMAL, "MaxRecvDataSegmentLength", "0x200", NULL, PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, 512},
	{NORMAL, "MaxRecvDataSegmentLength", "16777215", NULL, PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, 16777215},
	{NORMAL, "MaxRecvDataSegmentLength", "511", "Reject", PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, 8192},
	{NORMAL, "MaxRecvDataSegmentLength", "16777216", "Reject", PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, 8192},
	{NORMAL, "MaxRecvDataSegmentLength", "lots", "Reject", PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, 8192},
	{DISCOVERY, "MaxRecvDataSegmentLength", "65536", NULL, PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, 65536},
	{IN_FULL, "MaxRecvDataSegmentLength", "65536", NULL, PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, 65536},

	{NORMAL, "MaxBurstLength", "16776192", "1048576", PARAM_MAX_BURST_LENGTH, 1048576},
	{NORMAL, "MaxBurstLength", "512", "512", PARAM_MAX_BURST_LENGTH, 512},
	{NORMAL, "MaxBurstLength", "511", "Reject", PARAM_MAX_BURST_LENGTH, 262144},
	{NORMAL, "MaxBurstLength", "16777216", "Reject", PARAM_MAX_BURST_LENGTH, 262144},
	{DISCOVERY, "MaxBurstLength", "262144", "Irrelevant", PARAM_MAX_BURST_LENGTH, 262144},
	{NORMAL, "FirstBurstLength", "65536", "65536", PARAM_FIRST_BURST_LENGTH, 65536},
	{NORMAL, "FirstBurstLength", "1048576", "262144", PARAM_FIRST_BURST_LENGTH, 262144},
	{NORMAL, "FirstBurstLength", "100", "Reject", PARAM_FIRST_BURST_LENGTH, 65536},
	{DISCOVERY, "FirstBurstLength", "65536", "Irrelevant", PARAM_FIRST_BURST_LENGTH, 65536},

	{NORMAL, "DefaultTime2Wait", "0", "2", PARAM_DEFAULT_TIME2WAIT, 2},
	{NORMAL, "DefaultTime2Wait", "3600", "3600", PARAM_DEFAULT_TIME2WAIT, 3600},
	{NORMAL, "DefaultTime2Wait", "3601", "Reject", PARAM_DEFAULT_TIME2WAIT, 2},
	{DISCOVERY, "DefaultTime2Wait", "5", "5", PARAM_DEFAULT_TIME2WAIT, 5},
	{NORMAL, "DefaultTime2Retain", "20", "0", PARAM_DEFAULT_TIME2RETAIN, 0},
	{NORMAL, "DefaultTime2Retain", "0", "0", PARAM_DEFAULT_TIME2RETAIN, 0},
	{NORMAL, "DefaultTime2Retain", "4000", "Reject", PARAM_DEFAULT_TIME2RETAIN, 20},
	{NORMAL, "MaxOutstandingR2T", "1", "1", PARAM_MAX_OUTSTANDING_R2T, 1},
	{NORMAL, "MaxOutstandingR2T", "65535", "16", PARAM_MAX_OUTSTANDING_R2T, 16},
	{NORMAL, "MaxOutstandingR2T", "0", "Reject", PARAM_MAX_OUTSTANDING_R2T, 1},
	{DISCOVERY, "MaxOutstandingR2T", "1", "Irrelevant", PARAM_MAX_OUTSTANDING_R2T, 1},
	{NORMAL, "DataPDUInOrder", "Yes", "Yes", PARAM_DATA_PDU_IN_ORDER, 1},
	{NORMAL, "DataPDUInOrder", "No", "Yes", PARAM_DATA_PDU_IN_ORDER, 1},
	{DISCOVERY, "DataPDUInOrder", "No", "Irrelevant", PARAM_DATA_PDU_IN_ORDER, 1},
	{NORMAL, "DataSequenceInOrder", "No", "Yes", PARAM_DATA_SEQUENCE_IN_ORDER, 1},
	{DISCOVERY, "DataSequenceInOrder", "No", "Irrelevant", PARAM_DATA_SEQUENCE_IN_ORDER, 1},
	{NORMAL, "ErrorRecoveryLevel", "2", "0", PARAM_ERROR_RECOVERY_LEVEL, 0},
	{NORMAL, "ErrorRecoveryLevel", "0", "0", PARAM_ERROR_RECOVERY_LEVEL, 0},
	{NORMAL, "ErrorRecoveryLevel", "3", "Reject", PARAM_ERROR_RECOVERY_LEVEL, 0},
	{DISCOVERY, "ErrorRecoveryLevel", "1", "0", PARAM_ERROR_RECOVERY_LEVEL, 0},

	{NORMAL, "TaskReporting", "RFC3720", "RFC3720", PARAM_TASK_REPORTING, 0},
	{NORMAL, "TaskReporting", "FastAbort,ResponseFence,RFC3720", "ResponseFence", PARAM_TASK_REPORTING,
	 1},
	{NORMAL, "TaskReporting", "FastAbort", "Reject", PARAM_TASK_REPORTING, 0},
	{DISCOVERY, "TaskReporting", "RFC3720", "Irrelevant", PARAM_TASK_REPORTING, 0},
	{NORMAL, "iSCSIProtocolLevel", "1", "1", PARAM_PROTOCOL_LEVEL, 1},
	{NORMAL, "iSCSIProtocolLevel", "2", "1", PARAM_PROTOCOL_LEVEL, 1},
	{NORMAL, "iSCSIProtocolLevel", "0", "0", PARAM_PROTOCOL_LEVEL, 0},
	{NORMAL, "iSCSIProtocolLevel", "32", "Reject", PARAM_PROTOCOL_LEVEL, 1},
	{DISCOVERY, "iSCSIProtocolLevel", "2", "Irrelevant", PARAM_PROTOCOL_LEVEL, 1},

	/* 13.25: never NotUnderstood */
	{NORMAL, "IFMarker", "Yes", "No", PARAM_COUNT, 0},
	{NORMAL, "OFMarker", "No", "No", PARAM_COUNT, 0},
	{NORMAL, "IFMarkInt", "2048~65535", "Reject", PARAM_COUNT, 0},
	{NORMAL, "OFMarkInt", "2048~65535", "Reject", PARAM_COUNT, 0},
	{DISCOVERY, "IFMarker", "No", "No", PARAM_COUNT, 0},

	/* declared for others to read: no answer */
	{NORMAL, "InitiatorName", "iqn.2024-01.com.example:i", NULL, PARAM_COUNT, 0},
	{IN_SECURITY, "InitiatorName", "iqn.2024-01.com.example:i", NULL, PARAM_COUNT, 0},
	{NORMAL, "InitiatorAlias", "box", NULL, PARAM_COUNT, 0},
	{NORMAL, "TargetName", "iqn.2024-01.com.example:t", NULL, PARAM_COUNT, 0},
	{NORMAL, "SessionType", "Normal", NULL, PARAM_COUNT, 0},
	{NORMAL, "X#NodeArchitecture", "Linux/6.1,amd64", NULL, PARAM_COUNT, 0},
	{IN_SECURITY, "AuthMethod", "None", NULL, PARAM_COUNT, 0},
	{NORMAL, "AuthMethod", "None", "Reject", PARAM_COUNT, 0},
	{IN_FULL, "InitiatorName", "iqn.2024-01.com.example:i", "Reject", PARAM_COUNT, 0},
	{IN_FULL, "SessionType", "Discovery", "Reject", PARAM_COUNT, 0},
	{IN_FULL, "InitiatorAlias", "box", NULL, PARAM_COUNT, 0},
	{IN_FULL, "SendTargets", "All", NULL, PARAM_COUNT, 0},
	{NORMAL, "SendTargets", "All", "Reject", PARAM_COUNT, 0},

	/* ours to say */
	{NORMAL, "TargetAlias", "me", "Reject", PARAM_COUNT, 0},
	{NORMAL, "TargetAddress", "127.0.0.1", "Reject", PARAM_COUNT, 0},
	{NORMAL, "TargetPortalGroupTag", "1", "Reject", PARAM_COUNT, 0},

	{NORMAL, "X-com.example.depth", "7", "NotUnderstood", PARAM_COUNT, 0},
	{NORMAL, "X#Other", "7", "NotUnderstood", PARAM_COUNT, 0},
	{NORMAL, "maxburstlength", "512", "NotUnderstood", PARAM_COUNT, 0},
	{IN_SECURITY, "CHAP_A", "5", "NotUnderstood", PARAM_COUNT, 0},
	{IN_FULL, "Nonsense", "", "NotUnderstood", PARAM_COUNT, 0},
	/* answers are not answered */
	{NORMAL, "MaxRecvDataSegmentLength", "NotUnderstood", NULL, PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, 8192},
	{NORMAL, "Whatever", "Reject", NULL, PARAM_COUNT, 0},
	{NORMAL, "InitialR2T", "Irrelevant", NULL, PARAM_INITIAL_R2T, 1},
};

static enum param_phase
set_up(struct params *params, enum setting setting)
{
	params_init(params, &limits);
	params->discovery = setting == DISCOVERY;
	params->leading = setting != NOT_LEADING;
	return setting == IN_SECURITY ? PARAM_PHASE_SECURITY
	       : setting == IN_FULL   ? PARAM_PHASE_FULL
				      : PARAM_PHASE_OPERATIONAL;
}

START_TEST(every_offer_has_its_answer)
{
	bool covered[PARAM_COUNT] = {false};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		struct params params;
		struct textbuf out;
		enum param_phase phase = set_up(&params, row->setting);
		char want[128] = "";

		textbuf_init(&out, 1024);
		ck_assert_int_eq(params_offer(&params, phase, row->key, row->offer, &out), 0);
		if (row->answer) {
			snprintf(want, sizeof(want), "%s=%s", row->key, row->answer);
			ck_assert_msg(out.len, "row %zu: %s=%s: no answer", i, row->key, row->offer);
			ck_assert_msg(!strcmp(out.data, want), "row %zu: %s=%s: answer %s", i, row->key,
				      row->offer, out.data);
		} else {
			ck_assert_msg(!out.len, "row %zu: %s=%s: answer %s", i, row->key, row->offer,
				      out.data);
		}
		if (row->param != PARAM_COUNT)
			ck_assert_msg(params.active[row->param] == row->active, "row %zu: %s=%s: %u", i,
				      row->key, row->offer, params.active[row->param]);
		if (param_find(row->key) != PARAM_COUNT)
			covered[param_find(row->key)] = true;
		textbuf_fini(&out);
	}
	for (int i = 0; i < PARAM_COUNT; i++)
		ck_assert_msg(covered[i], "no row offers %s", param_table[i].name);
}
END_TEST

START_TEST(defaults_hold_until_a_key_is_offered)
{
	static const struct {
		enum param param;
		const char *text;
	} defaults[] = {
		{PARAM_HEADER_DIGEST, "None"},         {PARAM_DATA_DIGEST, "None"},
		{PARAM_MAX_CONNECTIONS, "1"},          {PARAM_INITIAL_R2T, "Yes"},
		{PARAM_IMMEDIATE_DATA, "Yes"},         {PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, "8192"},
		{PARAM_MAX_BURST_LENGTH, "262144"},    {PARAM_FIRST_BURST_LENGTH, "65536"},
		{PARAM_DEFAULT_TIME2WAIT, "2"},        {PARAM_DEFAULT_TIME2RETAIN, "20"},
		{PARAM_MAX_OUTSTANDING_R2T, "1"},      {PARAM_DATA_PDU_IN_ORDER, "Yes"},
		{PARAM_DATA_SEQUENCE_IN_ORDER, "Yes"}, {PARAM_ERROR_RECOVERY_LEVEL, "0"},
		{PARAM_TASK_REPORTING, "RFC3720"},     {PARAM_PROTOCOL_LEVEL, "1"},
	};
	struct params params;
	char buf[16];

	params_init(&params, &limits);
	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
		ck_assert_str_eq(params_text(&params, defaults[i].param, buf, sizeof(buf)), defaults[i].text);
}
END_TEST

static int
offer_text(struct params *params, const char *text, size_t len, struct textbuf *out)
{
	static char copy[1024];
	struct keys keys;

	memcpy(copy, text, len);
	ck_assert_int_eq(keys_parse(copy, len, &keys), 0);
	return params_offer_all(params, PARAM_PHASE_OPERATIONAL, &keys, out);
}

static const char *
answer_to(const struct textbuf *out, const char *key)
{
	static char copy[1024];
	static struct keys keys;

	memcpy(copy, out->data, out->len);
	ck_assert_int_eq(keys_parse(copy, out->len, &keys), 0);
	return keys_find(&keys, key);
}

#define OFFER(params, literal, out) offer_text(params, literal, sizeof(literal) - 1, out)

START_TEST(keys_that_depend_on_others_know_them)
{
	struct params params;
	struct textbuf out;

	/* 13.14, whatever the order in the text */
	textbuf_init(&out, 4096);
	params_init(&params, &limits);
	ck_assert_int_eq(OFFER(&params, "FirstBurstLength=65536\0ImmediateData=No\0InitialR2T=Yes\0", &out),
			 0);
	ck_assert_str_eq(answer_to(&out, "FirstBurstLength"), "Irrelevant");

	textbuf_reset(&out);
	params_init(&params, &limits);
	ck_assert_int_eq(OFFER(&params, "FirstBurstLength=65536\0MaxBurstLength=8192\0InitialR2T=No\0", &out),
			 0);
	ck_assert_str_eq(answer_to(&out, "FirstBurstLength"), "8192");
	ck_assert_str_eq(answer_to(&out, "MaxBurstLength"), "8192");
	ck_assert_uint_eq(params.active[PARAM_FIRST_BURST_LENGTH], 8192);
	textbuf_fini(&out);
}
END_TEST

START_TEST(a_key_comes_once_in_a_negotiation)
{
	struct params params;
	struct textbuf out;

	textbuf_init(&out, 4096);
	params_init(&params, &limits);
	ck_assert_int_eq(OFFER(&params, "MaxBurstLength=8192\0MaxBurstLength=8192\0", &out), LG_EPROTO);
	params_init(&params, &limits);
	ck_assert_int_eq(OFFER(&params, "MaxBurstLength=8192\0", &out), 0);
	ck_assert_int_eq(OFFER(&params, "MaxBurstLength=8192\0", &out), LG_EPROTO);
	params_restart(&params);
	ck_assert_int_eq(OFFER(&params, "MaxBurstLength=8192\0", &out), 0);
	/* names may be repeated */
	ck_assert_int_eq(OFFER(&params, "InitiatorName=a\0InitiatorName=a\0", &out), 0);
	textbuf_fini(&out);
}
END_TEST

START_TEST(our_limits_stay_within_the_rfc)
{
	struct param_limits wild = {.max_recv_segment = UINT32_MAX, .max_burst = 1, .first_burst = 0};
	struct params params;

	params_init(&params, &wild);
	ck_assert_uint_eq(params.mine[PARAM_MAX_RECV_DATA_SEGMENT_LENGTH], (1u << 24) - 1);
	ck_assert_uint_eq(params.mine[PARAM_MAX_BURST_LENGTH], 512);
	ck_assert_uint_eq(params.mine[PARAM_FIRST_BURST_LENGTH], 512);
	ck_assert_uint_eq(params.mine[PARAM_MAX_OUTSTANDING_R2T], 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("params");
	TCase *tc = tcase_create("params");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_add_test(tc, every_offer_has_its_answer);
	tcase_add_test(tc, defaults_hold_until_a_key_is_offered);
	tcase_add_test(tc, keys_that_depend_on_others_know_them);
	tcase_add_test(tc, a_key_comes_once_in_a_negotiation);
	tcase_add_test(tc, our_limits_stay_within_the_rfc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
