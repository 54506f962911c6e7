"""A store that several threads begin to use at once has one database."""

import threading
import time

from firkin.errors import StoreError
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


def test_closing_under_threads_that_write_is_an_error_to_them_and_no_crash(tmp_path):
    store = Store(str(tmp_path), time.time)
    ended = []

    def write() -> None:
        try:
            while True:
                store.records.use_trees(("a", "b"))
        except StoreError as error:
            ended.append(error)

    for _ in range(20):  # a connection closed in the middle of a statement ends the process
        with store:
            records = store.records
            threads = [threading.Thread(target=write) for _ in range(2)]
            for thread in threads:
                thread.start()
            time.sleep(0.005)
            records.close()
            for thread in threads:
                thread.join()
        store = Store(str(tmp_path), time.time)
    assert len(ended) == 40
