// SPDX-License-Identifier: Apache-2.0
#include "oci/platform.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* Go's GOARCH names for what uname(2) says. */
static int host_platform(struct platform *p, struct err *e)
{
	static const struct {
		const char *machine, *architecture, *variant;
	} known[] = {{"x86_64", "amd64", ""}, {"aarch64", "arm64", "v8"}};
	struct utsname u;

	if (uname(&u) < 0)
		return err_sys(e, "uname");
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strcmp(u.machine, known[i].machine))
			continue;
		strcpy(p->os, "linux");
		strcpy(p->architecture, known[i].architecture);
		strcpy(p->variant, known[i].variant);
		return 0;
	}
	return err_set(e, -ENOTSUP, "no images are known for this processor (%s)", u.machine);
}

static bool take_part(const char **at, char out[PLATFORM_PART_BYTES])
{
	size_t n = strcspn(*at, "/");

	if (!n || n >= PLATFORM_PART_BYTES)
		return false;
	memcpy(out, *at, n);
	out[n] = '\0';
	*at += n + ((*at)[n] == '/');
	return true;
}

int platform_parse(const char *text, struct platform *ret, struct err *e)
{
	struct platform p = {0};
	const char *at = text;

	if (!text)
		return host_platform(ret, e);
	if (!take_part(&at, p.os) || !take_part(&at, p.architecture) ||
		(*at && !take_part(&at, p.variant)) || *at) {
		err_set(e, -EINVAL, "\"%.60s\" is not a platform", text);
		return err_remedy(e, "write OS/ARCHITECTURE, for example linux/amd64");
	}
	*ret = p;
	return 0;
}

void platform_format(const struct platform *p, char out[PLATFORM_TEXT_BYTES])
{
	snprintf(out, PLATFORM_TEXT_BYTES, "%s/%s%s%s", p->os, p->architecture,
		p->variant[0] ? "/" : "", p->variant);
}

static const char *variant_of(const struct platform *p)
{
	if (p->variant[0])
		return p->variant;
	if (!strcmp(p->architecture, "arm64"))
		return "v8";
	return strcmp(p->architecture, "amd64") ? "" : "v1";
}

int platform_match(const struct platform *wanted, const struct platform *offered)
{
	if (strcmp(wanted->os, offered->os) || strcmp(wanted->architecture, offered->architecture))
		return 0;
	return strcmp(variant_of(wanted), variant_of(offered)) ? 0 : 1;
}
