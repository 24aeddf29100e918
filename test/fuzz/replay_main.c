/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main() of a fuzz target where there is no libFuzzer: run it over files, and over
 * the files of folders.  Without arguments: over the target's corpus in the source tree, as
 * `make check` does.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "test/fuzz/fuzz.h"

#define INPUT_MAX (8u << 20)

static unsigned long inputs;

static int
run_file(const char *path)
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
		inputs++;
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
		return run_file(path);
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
	(void)printf("%lu inputs\n", inputs);
	return failed || inputs == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
