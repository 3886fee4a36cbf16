// SPDX-License-Identifier: Apache-2.0
/* Grammar: distribution/reference (registries); containers-transports(5) for oci: and oci-archive:
 * (the path ends at the first colon, the rest is the tag). */
#include "oci/ref.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

enum { REGISTRY_TAG_CHARS = 128 };

static int malformed(struct err *e, const char *why)
{
	err_set(e, -EINVAL, "not an image reference: %s", why);
	return err_remedy(e, "write oci:DIR[:TAG], oci-archive:FILE[:TAG], or NAME[:TAG]");
}

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

static bool is_word(char c)
{
	return is_alnum(c) || c == '_';
}

/* Copies text[0..n) into out[room]; false when it does not fit. */
static bool copy_span(char *out, size_t room, const char *text, size_t n)
{
	if (n >= room)
		return false;
	memcpy(out, text, n);
	out[n] = '\0';
	return true;
}

static int check_characters(const char *text, struct err *e)
{
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return malformed(e, "it has control characters");
	return *text ? 0 : malformed(e, "it is empty");
}

/* Takes "@sha256:…" off the end of text[0..*n). */
static int take_digest(const char *text, size_t *n, struct ref *r, struct err *e)
{
	const char *at = memrchr(text, '@', *n);
	char digest[160];

	if (!at || !memchr(at, ':', *n - (size_t)(at - text)))
		return 0;
	if (memchr(at, '/', *n - (size_t)(at - text)))
		return 0; /* an '@' inside a path */
	if (!copy_span(digest, sizeof(digest), at + 1, *n - (size_t)(at + 1 - text)))
		return malformed(e, "the digest is too long");
	r->has_digest = true;
	*n = (size_t)(at - text);
	return digest_parse(digest, &r->digest, e);
}

/* "PATH[:TAG]", the path up to the first colon. */
static int parse_path(const char *text, size_t n, struct ref *r, struct err *e)
{
	const char *colon = memchr(text, ':', n);
	size_t path_chars = colon ? (size_t)(colon - text) : n;

	if (!path_chars)
		return malformed(e, "the path is empty");
	if (!copy_span(r->path, sizeof(r->path), text, path_chars))
		return malformed(e, "the path is too long");
	if (!colon)
		return 0;
	if (path_chars + 1 == n)
		return malformed(e, "the tag is empty");
	if (!copy_span(r->tag, sizeof(r->tag), colon + 1, n - path_chars - 1))
		return malformed(e, "the tag is too long");
	return 0;
}

/* One path component: [a-z0-9]+ groups joined by ".", "_", "__" or any number of "-". */
static bool is_component(const char *c, size_t n)
{
	size_t i = 0;

	while (i < n) {
		size_t group = i;

		while (i < n && is_lower_or_digit(c[i]))
			i++;
		if (i == group)
			return false;
		if (i == n)
			return true;
		if (c[i] == '.')
			i++;
		else if (c[i] == '_')
			i += i + 1 < n && c[i + 1] == '_' ? 2 : 1;
		else
			while (i < n && c[i] == '-')
				i++;
	}
	return false;
}

static bool is_repository(const char *name)
{
	for (;;) {
		size_t n = strcspn(name, "/");

		if (!is_component(name, n))
			return false;
		if (!name[n])
			return true;
		name += n + 1;
	}
}

static bool is_tag(const char *tag)
{
	size_t n = strlen(tag);

	if (!n || n > REGISTRY_TAG_CHARS || !is_word(tag[0]))
		return false;
	for (size_t i = 1; i < n; i++)
		if (!is_word(tag[i]) && tag[i] != '.' && tag[i] != '-')
			return false;
	return true;
}

/* Labels of letters, digits and inner hyphens, joined by dots. */
static bool is_host_name(const char *host, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool is_edge = !i || i + 1 == n || host[i - 1] == '.' || host[i + 1] == '.';

		if (is_alnum(host[i]) || (host[i] == '-' && !is_edge))
			continue;
		if (host[i] != '.' || is_edge)
			return false;
	}
	return n > 0;
}

static bool is_ipv6(const char *host, size_t n)
{
	if (n < 4 || host[0] != '[' || host[n - 1] != ']')
		return false;
	return strspn(host + 1, "0123456789abcdefABCDEF:") == n - 2;
}

static bool is_registry(const char *text)
{
	const char *colon = strrchr(text, ':');
	const char *bracket = strchr(text, ']');
	size_t n = strlen(text);

	if (colon && (!bracket || colon > bracket)) {
		n = (size_t)(colon - text);
		if (!colon[1] || strlen(colon + 1) > 5 ||
			strspn(colon + 1, "0123456789") != strlen(colon + 1))
			return false;
	}
	return is_host_name(text, n) || is_ipv6(text, n);
}

/* Docker's rule: what stands before the first '/' is a registry if it could not be a user name. */
static bool names_registry(const char *name, size_t n)
{
	if (n == strlen("localhost") && !memcmp(name, "localhost", n))
		return true;
	for (size_t i = 0; i < n; i++)
		if (name[i] == '.' || name[i] == ':' || name[i] == '[' ||
			(name[i] >= 'A' && name[i] <= 'Z'))
			return true;
	return false;
}

static int split_registry(const char *name, struct ref *r, struct err *e)
{
	size_t n = strcspn(name, "/");
	const char *library = "";

	if (name[n] && names_registry(name, n)) {
		if (!copy_span(r->registry, sizeof(r->registry), name, n))
			return malformed(e, "the registry's name is too long");
		name += n + 1;
	} else {
		strcpy(r->registry, "docker.io");
	}
	if (!strcmp(r->registry, "index.docker.io"))
		strcpy(r->registry, "docker.io");
	if (!strcmp(r->registry, "docker.io") && !strchr(name, '/'))
		library = "library/";
	if (snprintf(r->repository, sizeof(r->repository), "%s%s", library, name) >=
		(int)sizeof(r->repository))
		return malformed(e, "the name is too long");
	return 0;
}

static int check_registry_ref(const struct ref *r, struct err *e)
{
	struct digest hex;
	const char *last = strrchr(r->repository, '/');

	if (!is_registry(r->registry))
		return malformed(e, "the registry's name is malformed");
	if (!is_repository(r->repository))
		return malformed(e, "a name is lower-case letters and digits, with single '.', "
				    "'_', '__' or '-' between them");
	if (last && !digest_parse_hex(last + 1, &hex) && !strcmp(r->registry, "docker.io") &&
		str_starts_with(r->repository, "library/"))
		return malformed(e, "it is a bare identifier; write NAME@sha256:…");
	if (strlen(r->registry) + 1 + strlen(r->repository) >= REF_NAME_BYTES)
		return malformed(e, "the name is too long");
	if (r->tag[0] && !is_tag(r->tag))
		return malformed(e, "a tag is letters, digits, '_', '.' and '-', at most 128");
	return 0;
}

static int parse_registry(const char *text, size_t n, struct ref *r, struct err *e)
{
	char name[2 * REF_NAME_BYTES];
	char *slash, *colon;
	int ret;

	if (!copy_span(name, sizeof(name), text, n))
		return malformed(e, "the name is too long");
	slash = strrchr(name, '/');
	colon = strrchr(name, ':');
	if (colon && (!slash || colon > slash)) {
		*colon = '\0';
		if (!colon[1])
			return malformed(e, "the tag is empty");
		if (!copy_span(r->tag, sizeof(r->tag), colon + 1, strlen(colon + 1)))
			return malformed(e, "the tag is too long");
	}
	ret = split_registry(name, r, e);
	if (ret < 0)
		return ret;
	if (!r->tag[0] && !r->has_digest)
		strcpy(r->tag, "latest");
	return check_registry_ref(r, e);
}

static int refuse_transport(const char *text, struct err *e)
{
	static const char *const others[] = {
		"docker-archive:", "docker-daemon:", "containers-storage:", "ostree:", "sif:"};

	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		if (!str_starts_with(text, others[i]))
			continue;
		err_set(e, -ENOTSUP, "images from %.*s are not supported by this version",
			(int)strlen(others[i]) - 1, others[i]);
		return err_remedy(e,
			"copy it first: skopeo copy %.80s oci:DIR:latest, then use "
			"oci:DIR:latest",
			text);
	}
	return 0;
}

static int parse_transport(const char *text, struct ref *r, struct err *e)
{
	static const struct {
		const char *prefix;
		enum ref_transport transport;
		size_t skip;
	} forms[] = {
		{"oci:", REF_LAYOUT, 4},
		{"oci-archive:", REF_ARCHIVE, 12},
		{"docker://", REF_REGISTRY, 9},
		{"/", REF_PATH, 0},
		{"./", REF_PATH, 0},
		{"../", REF_PATH, 0},
	};
	size_t n;
	int ret = refuse_transport(text, e);

	if (ret < 0)
		return ret;
	r->transport = REF_REGISTRY;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (!str_starts_with(text, forms[i].prefix))
			continue;
		r->transport = forms[i].transport;
		text += forms[i].skip;
		break;
	}
	n = strlen(text);
	ret = take_digest(text, &n, r, e);
	if (ret < 0)
		return ret;
	if (r->transport == REF_REGISTRY)
		return parse_registry(text, n, r, e);
	return parse_path(text, n, r, e);
}

int ref_parse(const char *text, struct ref *ret, struct err *e)
{
	struct ref r = {0};
	int code = check_characters(text, e);

	if (!code)
		code = parse_transport(text, &r, e);
	if (code < 0)
		return err_object(e, "%.150s", text);
	*ret = r;
	return 0;
}

void ref_format(const struct ref *r, char out[REF_TEXT_BYTES])
{
	static const char *const prefixes[] = {[REF_LAYOUT] = "oci:",
		[REF_ARCHIVE] = "oci-archive:",
		[REF_PATH] = "",
		[REF_REGISTRY] = ""};
	char digest[DIGEST_TEXT_BYTES] = "";
	bool is_remote = r->transport == REF_REGISTRY;

	if (r->has_digest)
		digest_format(&r->digest, digest);
	snprintf(out, REF_TEXT_BYTES, "%s%s%s%s%s%s%s%s", prefixes[r->transport],
		is_remote ? r->registry : r->path, is_remote ? "/" : "",
		is_remote ? r->repository : "", r->tag[0] ? ":" : "", r->tag,
		r->has_digest ? "@" : "", digest);
}
