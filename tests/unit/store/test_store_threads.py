"""A store that several threads begin to use at once has one database."""

import threading
import time

from firkin.store.store import Store


def test_the_database_is_opened_once(tmp_path):
    for number in range(8):
        with Store(str(tmp_path / str(number)), time.time) as store:
            gate, seen = threading.Barrier(4), []

            def ask(store=store, gate=gate, seen=seen) -> None:
                gate.wait()
                seen.append(store.records)

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(seen) == 4 and len(set(map(id, seen))) == 1
