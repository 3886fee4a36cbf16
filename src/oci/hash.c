// SPDX-License-Identifier: Apache-2.0
#include "oci/hash.h"

#include <errno.h>

#include <openssl/evp.h>

int hasher_init(struct hasher *h, struct err *e)
{
	h->context = EVP_MD_CTX_new();
	if (!h->context)
		return err_set(e, -ENOMEM, "out of memory");
	if (EVP_DigestInit_ex(h->context, EVP_sha256(), NULL) == 1)
		return 0;
	hasher_fini(h);
	return err_set(e, -ENOTSUP, "libcrypto gives no SHA-256");
}

void hasher_fini(struct hasher *h)
{
	EVP_MD_CTX_free(h->context);
	h->context = NULL;
}

int hasher_add(struct hasher *h, const void *data, size_t bytes)
{
	return EVP_DigestUpdate(h->context, data, bytes) == 1 ? 0 : -EIO;
}

int hasher_end(struct hasher *h, struct digest *ret)
{
	return EVP_DigestFinal_ex(h->context, ret->sha256, NULL) == 1 ? 0 : -EIO;
}
