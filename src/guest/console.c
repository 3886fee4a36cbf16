// SPDX-License-Identifier: Apache-2.0
#include "guest/console.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"

enum { LINE_MAX_BYTES = 900 };

void console_open(void)
{
	int fd;

	/* The kernel gives init its console when the initramfs has the node. */
	if (fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0)
		return;
	fd = open("/dev/console", O_RDWR | O_NOCTTY);
	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	if (fd < 0)
		return;
	for (int i = 0; i <= 2; i++)
		if (fd != i)
			dup2(fd, i);
	if (fd > 2)
		close(fd);
}

/* By way of the kernel's log, which reaches the console even where the driver's interrupts do not;
 * that is when most must be said. Returns false when there is no log. */
static bool log_line(const char *line, size_t bytes)
{
	static const char level[] = "<2>"; /* KERN_CRIT: printed by a quiet kernel, too */
	char record[LINE_MAX_BYTES + sizeof(level)];
	autoclose int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return false;
	memcpy(record, level, sizeof(level) - 1);
	memcpy(record + sizeof(level) - 1, line, bytes);
	/* One write is one record (Documentation/ABI/testing/dev-kmsg). */
	return write(fd, record, sizeof(level) - 1 + bytes) > 0;
}

void console_say(const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;
	int n, m;

	n = snprintf(line, sizeof(line), "init: ");
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	n = m < 0 ? n : MIN(n + m, (int)sizeof(line) - 2);
	line[n] = '\n';
	/* Nobody is left to be told when the console itself fails. */
	if (!log_line(line, (size_t)n + 1))
		(void)!fd_write_full(2, line, (size_t)n + 1);
}

void console_warn(const struct err *e)
{
	char sentence[LINE_MAX_BYTES - 8];

	err_sentence(e, sentence, sizeof(sentence));
	console_say("%s", sentence);
}

void console_drain(void)
{
	tcdrain(2);
}
