// SPDX-License-Identifier: Apache-2.0
/* Stands in for libFuzzer: runs a fuzz target over the files (or directories of files) it is given,
 * once each. `meson test` replays every corpus with it, in any compiler and sanitizer. */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static unsigned n_files;

static int replay_file(const char *path, size_t bytes)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(bytes + 1);
	int r = -1;

	if (f && data && fread(data, 1, bytes, f) == bytes) {
		/* A copy of the exact size, so that a sanitizer sees every byte read beyond it. */
		uint8_t *exact = malloc(bytes ? bytes : 1);

		if (exact) {
			memcpy(exact, data, bytes);
			r = LLVMFuzzerTestOneInput(exact, bytes);
			n_files++;
		}
		free(exact);
	}
	if (f)
		fclose(f);
	free(data);
	if (r)
		fprintf(stderr, "%s: failed\n", path);
	return r;
}

static int replay(const char *path);

static int replay_directory(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	char below[4096];
	int r = d ? 0 : -1;

	while (!r && (entry = readdir(d))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		r = replay(below);
	}
	if (d)
		closedir(d);
	return r;
}

static int replay(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		perror(path);
		return -1;
	}
	return S_ISDIR(st.st_mode) ? replay_directory(path) : replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (replay(argv[i]))
			return EXIT_FAILURE;
	printf("%u inputs replayed\n", n_files);
	return n_files ? EXIT_SUCCESS : EXIT_FAILURE;
}
