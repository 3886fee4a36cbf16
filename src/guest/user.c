// SPDX-License-Identifier: Apache-2.0
#include "guest/user.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "guest/file.h"

/* passwd(5), group(5). Fields after these are of no interest; a group without members may lack the
 * last one. */
enum { NAME_BYTES_MAX = 255, PASSWD_FIELDS = 6, GROUP_FIELDS = 4, GROUP_FIELDS_MIN = 3 };

/* The largest ID: (uid_t)-1 means "leave as it is" to the kernel. */
static const uint64_t id_max = UINT32_MAX - 1;

/* A piece of a text, not terminated. */
struct part {
	const char *at;
	size_t bytes;
};

static bool part_is(struct part p, const char *s)
{
	return p.bytes == strlen(s) && !memcmp(p.at, s, p.bytes);
}

static int part_to_id(struct part p, uint32_t *ret)
{
	char digits[16];
	uint64_t v;
	int r;

	if (p.bytes >= sizeof(digits))
		return -ERANGE;
	memcpy(digits, p.at, p.bytes);
	digits[p.bytes] = '\0';
	r = str_to_u64(digits, &v);
	if (r < 0)
		return r;
	if (v > id_max)
		return -ERANGE;
	*ret = (uint32_t)v;
	return 0;
}

/* Takes what stands before the next `end` character, or all that is left. */
static struct part next_part(struct part *rest, char end)
{
	const char *hit = rest->bytes ? memchr(rest->at, end, rest->bytes) : NULL;
	struct part p = {rest->at, hit ? (size_t)(hit - rest->at) : rest->bytes};
	size_t skip = p.bytes + (hit ? 1 : 0);

	rest->at += skip;
	rest->bytes -= skip;
	return p;
}

/* Splits a line at its colons. Returns how many fields there were, at most `room`. */
static unsigned split(struct part line, struct part *fields, unsigned room)
{
	unsigned n = 0;

	memset(fields, 0, room * sizeof(*fields));
	while (n < room) {
		bool is_last = !memchr(line.at, ':', line.bytes);

		fields[n++] = next_part(&line, ':');
		if (is_last)
			break;
	}
	return n;
}

/* Finds the first entry whose name is `name` or whose ID is `*id` (NULL: by name only); entries of
 * passwd and group both have these as fields 0 and 2. */
static bool find_entry(const char *text, const char *name, const uint32_t *id, struct part *fields,
	unsigned room, unsigned need)
{
	struct part rest = {text, strlen(text)};
	uint32_t v;

	while (rest.bytes) {
		struct part line = next_part(&rest, '\n');

		if (split(line, fields, room) < need || !fields[0].bytes ||
			part_to_id(fields[2], &v) < 0)
			continue;
		if (part_is(fields[0], name) || (id && v == *id))
			return true;
	}
	return false;
}

static bool lists(struct part members, struct part name)
{
	while (members.bytes) {
		struct part m = next_part(&members, ',');

		if (m.bytes == name.bytes && !memcmp(m.at, name.at, m.bytes))
			return true;
	}
	return false;
}

/* Every group of the file that lists the user's name. */
static int take_groups(struct user *u, const char *text, struct part name, struct err *e)
{
	struct part rest = {text, strlen(text)}, fields[GROUP_FIELDS];
	uint32_t gid;

	while (rest.bytes) {
		struct part line = next_part(&rest, '\n');

		if (split(line, fields, GROUP_FIELDS) < GROUP_FIELDS ||
			part_to_id(fields[2], &gid) < 0 || !lists(fields[3], name))
			continue;
		if (u->n_groups == USER_GROUPS_MAX)
			return err_set(
				e, -E2BIG, "user is in more than %d groups", USER_GROUPS_MAX);
		u->groups[u->n_groups++] = gid;
	}
	return 0;
}

static int set_group(struct user *u, const char *name, const char *text, struct err *e)
{
	struct part fields[GROUP_FIELDS];
	uint32_t id;
	int r = part_to_id((struct part){name, strlen(name)}, &id);

	if (r == -ERANGE)
		return err_set(e, -EINVAL, "group \"%.64s\" is no group number", name);
	if (find_entry(text, name, r < 0 ? NULL : &id, fields, GROUP_FIELDS, GROUP_FIELDS_MIN)) {
		if (part_to_id(fields[2], &u->gid) < 0)
			return err_set(e, -EINVAL, "group \"%.64s\" has no number", name);
		return 0;
	}
	if (r < 0)
		return err_set(
			e, -ENOENT, "group \"%.64s\" is not in the image's /etc/group", name);
	u->gid = id;
	return 0;
}

static int set_user(
	struct user *u, const char *name, const char *passwd, struct part *ret_name, struct err *e)
{
	struct part fields[PASSWD_FIELDS];
	uint32_t id;
	int r = part_to_id((struct part){name, strlen(name)}, &id);

	if (r == -ERANGE)
		return err_set(e, -EINVAL, "user \"%.64s\" is no user number", name);
	*ret_name = (struct part){name, strlen(name)};
	if (!find_entry(passwd, name, r < 0 ? NULL : &id, fields, PASSWD_FIELDS, PASSWD_FIELDS)) {
		if (r < 0)
			return err_set(e, -ENOENT,
				"user \"%.64s\" is not in the image's /etc/passwd", name);
		u->uid = id;
		return 0;
	}
	if (part_to_id(fields[2], &u->uid) < 0 || part_to_id(fields[3], &u->gid) < 0)
		return err_set(e, -EINVAL, "user \"%.64s\" has no numbers in /etc/passwd", name);
	if (fields[5].bytes && fields[5].bytes < USER_HOME_BYTES) {
		memcpy(u->home, fields[5].at, fields[5].bytes);
		u->home[fields[5].bytes] = '\0';
	}
	*ret_name = fields[0];
	return 0;
}

int user_parse(
	const char *spec, const char *passwd, const char *group, struct user *ret, struct err *e)
{
	struct part rest = {spec, strlen(spec)}, name, group_name;
	char user_text[NAME_BYTES_MAX + 1] = "0", group_text[NAME_BYTES_MAX + 1] = "";
	struct user u = {.home = "/"};
	bool has_group = strchr(spec, ':') != NULL;
	int r;

	name = next_part(&rest, ':');
	group_name = rest;
	if (name.bytes > NAME_BYTES_MAX || group_name.bytes > NAME_BYTES_MAX ||
		(has_group && !group_name.bytes) || memchr(rest.at, ':', rest.bytes))
		return err_set(e, -EINVAL, "\"%.64s\" is not user or user:group", spec);
	if (name.bytes)
		snprintf(user_text, sizeof(user_text), "%.*s", (int)name.bytes, name.at);
	snprintf(group_text, sizeof(group_text), "%.*s", (int)group_name.bytes, group_name.at);
	r = set_user(&u, user_text, passwd, &name, e);
	if (r < 0)
		return r;
	r = has_group ? set_group(&u, group_text, group, e) : take_groups(&u, group, name, e);
	if (r < 0)
		return r;
	*ret = u;
	return 0;
}

static int read_text(const char *path, struct buf *b, const char **ret, struct err *e)
{
	int r;

	buf_init(b, USER_FILE_MAX);
	r = file_read(path, b);
	if (r < 0 && r != -ENOENT)
		return err_set(e, r, "%s of the image cannot be read: %s", path, strerror(-r));
	*ret = buf_cstr(b);
	return *ret ? 0 : err_set(e, -ENOMEM, "no memory to read %s of the image", path);
}

int user_resolve(const char *spec, struct user *ret, struct err *e)
{
	autobuf struct buf passwd_file = {0}, group_file = {0};
	const char *passwd, *group;
	int r = read_text("/etc/passwd", &passwd_file, &passwd, e);

	if (r < 0)
		return r;
	r = read_text("/etc/group", &group_file, &group, e);
	return r < 0 ? r : user_parse(spec, passwd, group, ret, e);
}
