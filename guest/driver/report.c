// SPDX-License-Identifier: GPL-2.0
/*
 * Free page reporting: the kernel hands over blocks of free pages, and holds them until the host
 * has seen them.
 */
#include "balloon.h"

#include <linux/virtio_config.h>

static int report(struct page_reporting_dev_info *info, struct scatterlist *blocks, unsigned int n)
{
	struct balloon *b = container_of(info, struct balloon, reporting);
	int err;

	err = virtqueue_add_inbuf(b->report_vq, blocks, n, b, GFP_NOWAIT | __GFP_NOWARN);
	if (err)
		return err;
	return balloon_await(b, b->report_vq) ? 0 : -EIO;
}

int balloon_report_start(struct balloon *b)
{
	int err;

	if (!b->report_vq)
		return 0;
	if (virtqueue_get_vring_size(b->report_vq) < PAGE_REPORTING_CAPACITY)
		return -ENOSPC;
	memset(&b->reporting, 0, sizeof(b->reporting));
	b->reporting.report = report;
	/* Blocks of 2 MiB also where the kernel would choose half a GiB: none is ever free. */
	if (IS_ENABLED(CONFIG_ARM64_64K_PAGES))
		b->reporting.order = get_order(SZ_2M);
	err = page_reporting_register(&b->reporting);
	b->is_reporting = !err;
	return err;
}

void balloon_report_stop(struct balloon *b)
{
	if (b->is_reporting)
		page_reporting_unregister(&b->reporting);
	b->is_reporting = false;
}
