/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main() of a fuzz target where there is no libFuzzer: run it over files, and over
 * the files of folders.  Without arguments: over the target's corpus in the source tree, as
 * `make check` does.  Then once more, the last first, if the target can tell what came of an input: it has to be
 * the same again.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "test/fuzz/fuzz.h"

#define INPUT_MAX (8u << 20)

struct input {
	char *path;
	uint32_t outcome;
};

static struct input *done;
static unsigned long inputs;

static void
remember(const char *path)
{
	struct input *more = realloc(done, (inputs + 1) * sizeof(*done));
	char *copy = strdup(path);

	if (!more || !copy)
		abort();
	done = more;
	done[inputs++] = (struct input){copy, fuzz_outcome ? fuzz_outcome() : 0};
}

static int
run_file(const char *path, bool again)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(INPUT_MAX);

	if (!f || !data) {
		perror(path);
		free(data);
		if (f)
			(void)fclose(f);
		return 1;
	}
	size_t n = fread(data, 1, INPUT_MAX, f);
	(void)fclose(f);
	/* an allocation of just this size, so that a read past the end is seen */
	uint8_t *exact = malloc(n ? n : 1);
	if (exact) {
		memcpy(exact, data, n);
		(void)LLVMFuzzerTestOneInput(exact, n);
		if (!again)
			remember(path);
	}
	free(exact);
	free(data);
	return exact ? 0 : 1;
}

static int
run_path(const char *path)
{
	struct stat st;
	int failed = 0;

	if (stat(path, &st) != 0) {
		perror(path);
		return 1;
	}
	if (!S_ISDIR(st.st_mode))
		return run_file(path, false);
	DIR *dir = opendir(path);
	if (!dir) {
		perror(path);
		return 1;
	}
	for (struct dirent *d; (d = readdir(dir)) != NULL;) {
		char file[4096];

		if (d->d_name[0] == '.')
			continue;
		if (snprintf(file, sizeof(file), "%s/%s", path, d->d_name) < (int)sizeof(file))
			failed |= run_path(file);
	}
	(void)closedir(dir);
	return failed;
}

/* Other neighbours, and each file right behind itself. */
static int
run_back(void)
{
	int failed = 0;

	for (unsigned long i = inputs; i-- && fuzz_outcome;) {
		for (unsigned n = 0; n < 2; n++) {
			failed |= run_file(done[i].path, true);
			if (fuzz_outcome() == done[i].outcome)
				continue;
			(void)printf("%s: another outcome than before\n", done[i].path);
			failed = 1;
		}
	}
	return failed;
}

int
main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= run_path(argv[i]);
	if (argc == 1) {
		const char *srcdir = getenv("srcdir"), *name = strrchr(argv[0], '/');
		char path[4096];

		name = name ? name + 1 : argv[0];
		(void)snprintf(path, sizeof(path), "%s/test/fuzz/corpus/%s", srcdir ? srcdir : ".", name);
		failed = run_path(path);
	}
	failed |= run_back();
	(void)printf("%lu inputs\n", inputs);
	for (unsigned long i = 0; i < inputs; i++)
		free(done[i].path);
	free(done);
	return failed || inputs == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
