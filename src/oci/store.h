// SPDX-License-Identifier: Apache-2.0
/*
 * The content-addressed image store: a directory.
 *
 *   layers/FORMAT/sha256/HEX.squashfs  one layer (HEX: its diff ID), or several merged (HEX: a key)
 *   blobs/sha256/HEX                   manifests and configurations, kept as they were
 *   images/HEX.json                    what a manifest (HEX: its digest) needs of the above
 *   names/HEX.json                     reference → manifest (HEX: digest of the reference)
 *   disks/                             empty file systems, shared by the disks that VMs write to
 *   snapshots/KEY/                     baked states (KEY: of all that went into one), KEY.lock
 *   tmp/                               files being written; each is locked by its writer
 *
 * An object is written in tmp/ under a lock and renamed, so it is whole or absent; a second
 * process that wants the same object waits and finds it done. What a crash leaves in tmp/ is
 * unlocked and swept by the next writer. Knows nothing of archives or of where blobs come from.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "oci/digest.h"

struct store;

/* What `supermachine images` shows; strings live for the duration of the callback. */
struct store_entry {
	const char *reference;
	char manifest_digest[DIGEST_TEXT_BYTES];
	const char *os;
	const char *architecture;
	const char *created; /* of the image, RFC 3339; "" when it does not say */
	uint64_t added_at;   /* seconds since 1970: when this name was stored */
	uint64_t bytes;	     /* of all layers on disk */
	unsigned n_layers;
};

/* Opens, and makes if need be. path NULL: $SUPERMACHINE_STORE, else $XDG_DATA_HOME/supermachine,
 * else $HOME/.local/share/supermachine. Errors: -EINVAL no such variable, or -errno. */
int store_open(const char *path, struct store **ret, struct err *e) MUST_CHECK;
void store_close(struct store *s);
const char *store_path(const struct store *s);

/* Calls `each` for every stored name, sorted; a value other than 0 ends it and is returned.
 * Records that cannot be read are left out. */
int store_list_images(struct store *s, int (*each)(void *context, const struct store_entry *entry),
	void *context, struct err *e) MUST_CHECK;

/* Forgets an image by reference or by manifest digest (the digest, or its first 12 or more
 * hexadecimal characters, forgets every name of it) and deletes what no other image uses. Files
 * that somebody holds open stay readable to them. -ENOENT when there is none, -EBUSY while an
 * image is being converted. */
int store_remove_image(struct store *s, const char *reference, struct err *e) MUST_CHECK;
