// SPDX-License-Identifier: GPL-2.0
/*
 * Whether reclaim is in trouble, from what a module can see.
 *
 * A shrinker is asked by every reclaim, also by the everyday one that drops page cache which nobody
 * misses; answering that dissolves the balloon. Reclaim is in trouble when what could still be
 * taken without swapping is nearly gone: si_mem_available(), which counts free memory beyond the
 * reserves, most of the page cache and reclaimable slab. What else there is, and why not that:
 * docs/decisions/driver-pressure.md.
 */
#include "balloon.h"

#include <linux/moduleparam.h>

static unsigned int low_part = 32;
module_param(low_part, uint, 0644);
MODULE_PARM_DESC(low_part, "reclaim is in trouble with less than one part in so many of all memory "
			   "available (32)");

#define LOW_PAGES (SZ_16M >> PAGE_SHIFT)

bool balloon_in_trouble(void)
{
	unsigned long low = max_t(unsigned long, LOW_PAGES, totalram_pages() / max(low_part, 1U));

	return si_mem_available() < (long)low;
}
