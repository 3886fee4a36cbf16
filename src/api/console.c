// SPDX-License-Identifier: Apache-2.0
#include "api/console.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "proto/console_log.h"

enum { SUMMARY_LOOKS_AT = 8192 };

int console_new(struct err *e)
{
	autoclose int fd = memfd_create("supermachine-console", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return err_sys(e, "create the console log");
	if (ftruncate(fd, CONSOLE_LOG_HEADER + CONSOLE_LOG_RING) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_sys(e, "size the console log");
	return take_fd(&fd);
}

ssize_t console_tail(int fd, char *out, size_t out_bytes)
{
	struct console_log head;
	size_t bytes, at, first;
	int r;

	if (!out_bytes)
		return 0;
	out[0] = '\0';
	r = fd_pread_full(fd, &head, sizeof(head), 0);
	if (r < 0)
		return r;
	bytes = head.written < CONSOLE_LOG_RING ? (size_t)head.written : CONSOLE_LOG_RING;
	bytes = MIN(bytes, out_bytes - 1);
	at = (head.written - bytes) % CONSOLE_LOG_RING;
	first = MIN(bytes, CONSOLE_LOG_RING - at);
	r = fd_pread_full(fd, out, first, CONSOLE_LOG_HEADER + (off_t)at);
	if (r == 0)
		r = fd_pread_full(fd, out + first, bytes - first, CONSOLE_LOG_HEADER);
	if (r < 0)
		return r;
	out[bytes] = '\0';
	return (ssize_t)bytes;
}

/* The length of a terminal's control sequence at the start of text (ECMA-48 §5.4), or 0. */
static size_t sequence_length(const char *text, size_t bytes)
{
	size_t n = 2;

	if (bytes < 3 || text[0] != '\033' || text[1] != '[')
		return 0;
	while (n < bytes && (text[n] < '@' || text[n] > '~'))
		n++;
	return n < bytes ? n + 1 : n;
}

/* Replaces what a terminal or a log would stumble over; lines become " | ". Returns the length. */
static size_t flatten(const char *text, size_t bytes, char *out, size_t room)
{
	size_t n = 0;
	bool is_gap = false;

	for (size_t i = 0; i < bytes && n + 4 < room; i++) {
		unsigned char c = (unsigned char)text[i];
		size_t sequence = sequence_length(text + i, bytes - i);

		if (sequence) {
			i += sequence - 1;
			continue;
		}
		if (c == '\n' || c == '\r') {
			is_gap = n > 0;
			continue;
		}
		if (c < ' ' || c == 127)
			continue;
		if (is_gap) {
			memcpy(out + n, " | ", 3);
			n += 3;
			is_gap = false;
		}
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return n;
}

void console_summary(int fd, char *out, size_t out_bytes)
{
	char text[SUMMARY_LOOKS_AT], *start;
	ssize_t bytes = console_tail(fd, text, sizeof(text));
	size_t fits = out_bytes - MIN(out_bytes, 16);

	out[0] = '\0';
	if (bytes <= 0)
		return;
	for (ssize_t i = 0; i < bytes; i++)
		if (!text[i])
			text[i] = ' ';
	/* What the kernel or init said last before it gave up, if it did. */
	start = strstr(text, "Kernel panic");
	if (!start)
		start = strstr(text, "init: fatal:");
	if (!start) {
		start = (size_t)bytes > fits ? text + bytes - fits : text;
		if (start > text) { /* not half a line, if a whole one follows */
			char *line = strchr(start, '\n');

			start = line && line[1] ? line + 1 : start;
		}
	}
	(void)flatten(start, (size_t)(text + bytes - start), out, out_bytes);
}
