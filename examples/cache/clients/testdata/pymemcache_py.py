"""Drives the cache with pymemcache: python3 pymemcache_py.py HOST PORT"""
import sys

from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient

server = (sys.argv[1], int(sys.argv[2]))
c = Client(server, timeout=10)
c.flush_all(noreply=False)
assert c.set("key", "value", noreply=False) and c.get("key") == b"value"
assert c.add("key", "other", noreply=False) is False and c.replace("key", "new", noreply=False)
assert c.append("key", "er", noreply=False) and c.prepend("key", "re", noreply=False) and c.get("key") == b"renewer"
value, token = c.gets("key")
assert c.cas("key", "first", token, noreply=False) is True and c.cas("key", "second", token, noreply=False) is False
assert c.cas("nokey", "x", token, noreply=False) is None
c.set("n", "10")
assert c.incr("n", 5, noreply=False) == 15 and c.decr("n", 20, noreply=False) == 0
assert c.set_many({f"key{i}": str(i) for i in range(300)}, noreply=False) == []
assert c.get_many([f"key{i}" for i in range(400)]) == {f"key{i}": str(i).encode() for i in range(300)}
assert c.touch("key1", 100, noreply=False) and c.delete("key1", noreply=False) and c.get("key1") is None
large = b"x" * 1000000
assert c.set("large", large, noreply=False) and c.get("large") == large
assert b"1.6" in c.version() and c.stats()[b"curr_items"] > 100
h = HashClient([server], use_pooling=True)
assert h.set("pooled", "x", noreply=False) and h.get("pooled") == b"x"
h.close()
c.flush_all(noreply=False)
assert c.get("key") is None
print("ok")
