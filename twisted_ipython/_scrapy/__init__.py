"""
Crawls of Scrapy's that a cell awaits or iterates over, and the table of their items.

Thread: reactor, for the most part; a crawl is begun and closed in any.
Entry points: `crawl:Crawl`, `items:Items`.
May import: `_display`, `_waiting`, `_reactor`, `_failures`, `_bridge`, `_base`, `_private`.
"""
