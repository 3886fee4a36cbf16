// SPDX-License-Identifier: Apache-2.0
#include "guest/power.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "guest/console.h"
#include "guest/file.h"

enum { MOUNTS_TEXT_MAX = 1 << 20 };

/* "\040" and the like, as proc(5) writes blanks in paths, back to bytes, in place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
			s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Unmounts what a mountinfo line (proc(5)) names if it is on a disk, or at least makes it
 * read-only. Major number 0 is the kernel's for file systems without a device. */
static void unmount_line(char *line)
{
	unsigned major, minor;
	int at = 0;
	char *where, *end;

	if (sscanf(line, "%*u %*u %u:%u %*s %n", &major, &minor, &at) < 2 || !at || !major)
		return;
	where = line + at;
	end = strchr(where, ' ');
	if (!end)
		return;
	*end = '\0';
	unescape(where);
	if (umount2(where, UMOUNT_NOFOLLOW) < 0 && errno == EBUSY)
		(void)mount(NULL, where, NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

/* Later mounts hide earlier ones, so the last line goes first. */
static void unmount_disks(void)
{
	autobuf struct buf b;
	char *text, *line;

	buf_init(&b, MOUNTS_TEXT_MAX);
	if (file_read("/proc/self/mountinfo", &b) < 0 || !b.bytes || !buf_cstr(&b))
		return;
	text = (char *)b.data;
	for (;;) {
		line = strrchr(text, '\n');
		unmount_line(line ? line + 1 : text);
		if (!line)
			break;
		*line = '\0';
	}
}

/* A kernel that was told of the machine by neither ACPI nor a device tree does not know how to
 * power it off; it would halt, which nobody sees. A restart ends the machine, too. */
static bool can_power_off(void)
{
	return !access("/sys/firmware/acpi", F_OK) || !access("/sys/firmware/devicetree", F_OK);
}

void power_off(bool is_reset)
{
	sync();
	unmount_disks();
	console_drain();
	reboot(is_reset || !can_power_off() ? RB_AUTOBOOT : RB_POWER_OFF);
	console_say("fatal: the kernel refuses to %s: %s", is_reset ? "restart" : "power off",
		strerror(errno));
}

void power_fatal(const struct err *e)
{
	char sentence[sizeof(struct err)];

	err_sentence(e, sentence, sizeof(sentence));
	console_say("fatal: %s", sentence);
	if (getpid() == 1)
		power_off(false);
	_exit(1);
}
