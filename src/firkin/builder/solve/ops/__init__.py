"""One executor per operation that makes a layer; each leaves the step's tree or blob in the store. Does I/O."""
