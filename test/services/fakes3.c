/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The misbehaving S3 server (test/lib/fakes3.h) as a program: prints KEY=VALUE lines, then serves until SIGTERM.
 *
 * usage: fakes3 [--port N] [--seed N] [--bare-if-match] [--tls PORT CERT KEY] [FAULT=PER_MILLE]...
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/lib/fakes3.h"

static int
usage(void)
{
	fprintf(stderr, "usage: fakes3 [--port N] [--seed N] [--bare-if-match] [--tls PORT CERT KEY] "
			"[FAULT=PER_MILLE]...\nfaults:");
	for (int i = 0; i < FAKES3_FAULTS; i++)
		fprintf(stderr, " %s", fakes3_fault_name((enum fakes3_fault)i));
	fprintf(stderr, "\n");
	return 2;
}

int
main(int argc, char **argv)
{
	struct fakes3_conf conf = {
		.bucket = "fake", .access_key = "FAKEACCESSKEY", .secret_key = "fake/secret+key"};
	unsigned per_mille[FAKES3_FAULTS] = {0};
	struct fakes3 *fake;
	sigset_t set;
	int sig;

	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		int fault = -1;

		if (value) {
			*value++ = '\0';
			fault = fakes3_fault_by_name(argv[i]);
		}
		if (fault >= 0)
			per_mille[fault] = (unsigned)strtoul(value, NULL, 10);
		else if (!strcmp(argv[i], "--bare-if-match"))
			conf.bare_if_match = true;
		else if (i + 1 < argc && !strcmp(argv[i], "--port"))
			conf.port = (uint16_t)strtoul(argv[++i], NULL, 10);
		else if (i + 1 < argc && !strcmp(argv[i], "--seed"))
			conf.seed = strtoull(argv[++i], NULL, 0);
		else if (i + 3 < argc && !strcmp(argv[i], "--tls")) {
			conf.tls_port = (uint16_t)strtoul(argv[++i], NULL, 10);
			conf.cert = argv[++i];
			conf.cert_key = argv[++i];
		} else
			return usage();
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (fakes3_start(&conf, &fake)) {
		fprintf(stderr, "fakes3: cannot listen\n");
		return 1;
	}
	for (int i = 0; i < FAKES3_FAULTS; i++)
		fakes3_set(fake, (enum fakes3_fault)i, per_mille[i]);
	printf("S3_ENDPOINT=http://127.0.0.1:%u\nS3_BUCKET=%s\nS3_ACCESS_KEY=%s\nS3_SECRET_KEY=%s\n"
	       "S3_REGION=us-east-1\nS3_SERVER=fakes3\n",
	       fakes3_port(fake), conf.bucket, conf.access_key, conf.secret_key);
	fflush(stdout);
	sigwait(&set, &sig);
	fakes3_stop(fake);
	return 0;
}
