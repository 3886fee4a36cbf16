// SPDX-License-Identifier: Apache-2.0
/*
 * Reference in, read-only layer images and a configuration out.
 *
 * An image whose layers are all in the store is opened without reading any layer and without any
 * decompression or archive library: those live in the helper program `supermachine-pull`, which is
 * started only when something must be converted. Knows nothing of virtual machines. Every function
 * may be called from any thread; one struct belongs to one thread at a time.
 */
#pragma once

#include "base/err.h"
#include "oci/digest.h"

struct store;

/* One read-only squashfs file, ready to be a block device. */
struct image_layer {
	char digest[DIGEST_TEXT_BYTES]; /* diff ID, or the key of several layers merged into one */
	char *path;			/* absolute; the file never changes */
	uint64_t bytes;
};

/* A list of strings, NULL-terminated when not empty; items is NULL when the image has none. */
struct image_strings {
	char **items;
	size_t n;
};

struct image_label {
	char *key;
	char *value;
};

/* OCI image-spec v1.1 config.md, and Docker's Healthcheck. All data, nothing acted upon. */
struct image_health {
	struct image_strings
		test;	      /* ["NONE"], ["CMD", …] or ["CMD-SHELL", command]; may be empty */
	uint64_t interval_ns; /* 0: the default of whoever runs it; the same for all below */
	uint64_t timeout_ns;
	uint64_t start_period_ns;
	uint64_t start_interval_ns;
	unsigned retries;
};

struct image_config {
	struct image_strings env; /* "NAME=value" */
	struct image_strings cmd;
	struct image_strings entrypoint;
	struct image_strings exposed_ports; /* "80/tcp", "53/udp" or "80" */
	struct image_strings volumes;	    /* absolute paths */
	struct image_label *labels;
	size_t n_labels;
	char *working_dir; /* NULL when not set; the same for all below */
	char *user;	   /* "name", "uid", "name:group", "uid:gid" … */
	char *stop_signal; /* "SIGTERM", "15" … */
	struct image_health health;
};

void image_config_fini(struct image_config *c);

struct image {
	char *reference;			 /* normalised */
	char manifest_digest[DIGEST_TEXT_BYTES]; /* "sha256:…" */
	char config_digest[DIGEST_TEXT_BYTES];
	char os[16];
	char architecture[16];
	char variant[16]; /* may be empty */
	struct image_config config;
	uint64_t bytes; /* of all layers together */
	unsigned n_layers;
	struct image_layer *layers; /* lowest first */
};

enum image_stage {
	IMAGE_RESOLVE, /* reading index, manifest and configuration */
	IMAGE_CONVERT, /* one layer: bytes are those of its compressed blob */
	IMAGE_MERGE,   /* several layers into one: bytes are those of the layers read */
	IMAGE_LAYER_READY,
};

struct image_progress {
	enum image_stage stage;
	char digest[DIGEST_TEXT_BYTES]; /* the layer's blob; empty for IMAGE_RESOLVE */
	unsigned layer;			/* from 0, lowest first */
	unsigned n_layers;
	uint64_t done_bytes;
	uint64_t total_bytes;
};

enum image_policy {
	IMAGE_PULL_IF_MISSING, /* convert what the store lacks */
	IMAGE_PULL_NEVER,      /* only what the store has, else -ENOENT */
};

/* All zero is valid and good. */
struct image_open_options {
	enum image_policy policy;
	const char *platform;	  /* "linux/amd64", "linux/arm64/v8"; NULL: this host's */
	unsigned max_layers;	  /* more are merged into one, lowest first; 0: no limit */
	uint64_t max_layer_bytes; /* ceiling for one layer, uncompressed; 0: 64 GiB */
	const char *pull_program; /* path of supermachine-pull; NULL: $SUPERMACHINE_PULL, then
				     beside the running program, then where it was installed */
	/* Called on the calling thread, at most a few times a second per layer; may be NULL. A
	 * return value other than 0 gives up: image_open then returns -ECANCELED. */
	int (*progress)(void *context, const struct image_progress *p);
	void *context;
};

/* Finds or makes everything the reference needs and gives it in *ret (free with image_free).
 * Blocks while layers are converted. Errors: -EINVAL malformed reference or document, -ENOENT no
 * such image, tag or platform, -EBADMSG a blob is not what its digest says, -ENOTSUP, -ENOSPC,
 * -ECANCELED, or another -errno. After an error nothing half-made is left in the store. */
int image_open(struct store *s, const char *reference, const struct image_open_options *o,
	struct image **ret, struct err *e) MUST_CHECK;
void image_free(struct image *img);
