// SPDX-License-Identifier: Apache-2.0
#include "guest/console.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
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
