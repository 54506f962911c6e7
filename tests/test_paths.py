"""What comes from outside reaches the file system beneath a root only: the rule behind docs/security.md.

Names in images, layers, contexts, git trees and archives, and whatever a step leaves, are chosen by somebody else. Code
that joins them to a path lets a link or a `..` decide where it leads. So the rooms that handle such things call the
kernel with a descriptor (`dir_fd=`, `linux/beneath.py`, `linux/folders.py`). Each function that hands a path over all
the same stands here, with the reason why nobody outside can choose where it leads. Who adds a row should be sure of it.
"""

import ast
from collections.abc import Iterator

from support.places import REPOSITORY

SOURCE = REPOSITORY / "src" / "firkin"
ROOMS = ("builder", "containers", "content", "images", "layer", "rootfs", "sandbox", "store")
CALLS = {
    "chmod", "chown", "getxattr", "lchown", "link", "listdir", "listxattr", "lstat", "makedirs", "mkdir", "mkfifo",
    "mknod", "open", "readlink", "remove", "removexattr", "rename", "replace", "rmdir", "scandir", "setxattr", "stat",
    "statvfs", "symlink", "truncate", "unlink", "utime", "walk",
}  # fmt: skip
OTHERS = {"open", "shutil.rmtree", "shutil.copytree", "shutil.copyfile", "shutil.move"}
DIRECTORY_FD = {"dir_fd", "src_dir_fd", "dst_dir_fd"}

# module: (why its paths are nobody else's choice, functions)
PATHS = {
    "builder.cache.directory": (
        "a directory that the user named; names in it are digests and fixed words",
        "DirectoryCache.open_blob DirectoryCache.add DirectoryCache.remove "
        "DirectoryCache._copy DirectoryCache._put _size",
    ),
    "builder.context.archive": (
        "the build's scratch space",
        "_Spool.keep file_chunks",
    ),
    "builder.context.directory": (
        "the context is the user's; no part of a path is a link, which is looked at first (`_is_directory`)",
        "DirectoryContext.iterdir DirectoryContext._status DirectoryContext._is_directory DirectoryContext._scan "
        "DirectoryContext._listed _entry _capability read_text",
    ),
    "builder.context.git_directory": (
        "the build's scratch space; names are fixed words, hex digits and refs that git's rules allow",
        "write_git_directory _Writer.__init__ _Writer.file _Writer.end _write_pack _take_packs _write_index",
    ),
    "builder.context.git_objects": (
        "the build's scratch space; names are numbers and ids in hex digits",
        "Objects.__init__ Objects.add_single Objects.spool _inflated",
    ),
    "builder.context.git_pack": (
        "the build's scratch space; names are numbers and checksums in hex digits",
        "Pack.__init__ Pack.write_index",
    ),
    "builder.context.git_remote": (
        "the build's scratch space; names are numbers",
        "Remote._get Remote._take_pack",
    ),
    "builder.context.git_transport": (
        "the build's scratch space",
        "SshProgram._own_command",
    ),
    "builder.context.git_view": (
        "the build's scratch space; names are digests",
        "GitView._keep GitView.read",
    ),
    "builder.context.https": (
        "names are digests of addresses and contents",
        "Downloads.fetch Downloads._take Downloads._hold Downloads._load Downloads._keep _check",
    ),
    "builder.context.oci_layout": (
        "a file that the user named",
        "_members _piece_chunks",
    ),
    "builder.context.s3": (
        "the user's own AWS files",
        "_section",
    ),
    "builder.history.recording": (
        "the store's own directory; names are random ids and digests",
        "Recording._open Recording._end Recording._trim Recording._keep_lists _hash_key _open_new _write_file",
    ),
    "builder.history.shelf": (
        "the store's own directory; names are those that it lists, and digests",
        "Shelf.read Shelf.steps Shelf.files Shelf.drop_lists Shelf._sizes Shelf._unfinished Shelf._is_running "
        "Shelf._event_lines _names _unlink",
    ),
    "builder.cache.usage": (
        "the store's own names; looks only",
        "_time",
    ),
    "containers.archive": (
        "below `Beneath`; the last name alone, in the directory that is the working directory, without following "
        "it",
        "_locate",
    ),
    "containers.bundle": (
        "a directory that the user named, in which there was nothing; names in it are fixed words; the machine's "
        "devices and the places of mounts, which the user named",
        "_clear _copy_root _make _nodes _resolved _write write_bundle",
    ),
    "containers.commit": (
        "looks only; at the top of an upper directory in the store",
        "layer_changes",
    ),
    "containers.create": (
        "the store's own names: ids and fixed words",
        "_begin _make _write_small_files _publish",
    ),
    "containers.exec": (
        "the store's own names",
        "_ended",
    ),
    "containers.files.archive_tar": (
        "in a process whose `/` is the container's; looks only, along names that were listed without following "
        "links",
        "TarPieces.file _names",
    ),
    "containers.files.extracting": (
        "in a process whose `/` is the container's: the working directory, and `/` itself",
        "_Extractor.__init__ _readonly",
    ),
    "containers.files.inside": (
        "/proc, by numbers of processes; firkin's own places before pivot_root; a descriptor",
        "Session.result _fork _pidfd_of _stand",
    ),
    "containers.foreground": (
        "scratch space; a file of the container's directory, which firkin wrote",
        "_copied _resolv_conf",
    ),
    "containers.home.damaged": (
        "the store's own names; looks only, without following links",
        "_name placeholder",
    ),
    "containers.home.finder": (
        "the store's own names: ids, names without a slash, and fixed words",
        "Finder._linked Finder._names Finder._read Finder.ensure_runtime Finder.has_monitor",
    ),
    "containers.home.home": (
        "the store's own names: ids and fixed words",
        "Home.all_locked Home.locked same_file write_document",
    ),
    "containers.home.journal": (
        "the journal of the store, by fixed names",
        "_Reader._open _is_at",
    ),
    "containers.home.names": (
        "the store's own names; the name is one that `is_name` allows",
        "take",
    ),
    "containers.home.namespaces": (
        "descriptors of pipes",
        "within within.child",
    ),
    "containers.home.ready": (
        "the store's own names; fixed files of this machine",
        "_facts ensure_store known_backend make_root",
    ),
    "containers.home.tidying": (
        "the user's own runtime directory, where nobody else may write; groups whose names are ids, looked at only",
        "_is_lost remove_empty_groups tidy",
    ),
    "containers.keeping.built": (
        "trees in the store that nobody writes to, and a staged one, along names that were listed without following "
        "links; what is below is looked at only",
        "_fits _link _linked",
    ),
    "containers.keeping.leftovers": (
        "the store's own names: ids and fixed words",
        "_finish _remove_link discard sweep",
    ),
    "containers.limits.devices": (
        "devices of this machine, which the user named; looks only",
        "_block_number _rule _rules_of",
    ),
    "containers.limits.facts": (
        "files of /proc and of the machine's control groups; looks only",
        "_file_there read_text",
    ),
    "containers.limits.oom": (
        "a file of /proc",
        "may_set",
    ),
    "containers.link.connection": (
        "the socket and its directory, where the container's own monitor told; checked to be nobody else's",
        "_ask_to_listen _check_peer",
    ),
    "containers.log_files": (
        "the store's own names; endings are numbers",
        "_older open_log",
    ),
    "containers.logs": (
        "the store's own names; endings are numbers",
        "_Follower._opened _Follower._successors",
    ),
    "containers.mending": (
        "/proc, by numbers of processes",
        "_started",
    ),
    "containers.monitor.files": (
        "the store's own names, and /proc",
        "append_line link_text open_journal overwrite take_lock try_lock tell_of_deletions unlink_if_there "
        "wait_for_lock write_whole",
    ),
    "containers.monitor.log_files": (
        "the store's own names; endings are numbers",
        "Log.mark Log.open compress_files lock_folder rename_file",
    ),
    "containers.monitor.removal": (
        "the store's own names, from the launch document",
        "hide release_volume remove_container",
    ),
    "containers.monitor.requests": (
        "/proc, by numbers of processes",
        "descendants",
    ),
    "containers.monitor.serving": (
        "the store's own names, the socket's, and /proc of the monitor itself",
        "Server.listen Server.run lower_oom_score",
    ),
    "containers.monitor.spawning": (
        "/proc, by numbers of processes",
        "signal_namespace write_text",
    ),
    "containers.prune": (
        "a lock of the store",
        "_alone",
    ),
    "containers.remove": (
        "the store's own names: ids and fixed words",
        "_mark finish_removal",
    ),
    "containers.rename": (
        "the store's own names; the name is one that `is_name` allows",
        "rename",
    ),
    "containers.resources": (
        "/proc, by numbers of processes; looks only",
        "_networks processes_beside",
    ),
    "containers.service": (
        "the user's directory for units; the name is a fixed word and a checksum",
        "_read _write uninstall",
    ),
    "containers.volumes.copy_up": (
        "the volume's own names; names in there are those that were just written beside it, and none is followed",
        "_fill _is_empty _others _put_in_place",
    ),
    "containers.volumes.shelf": (
        "the store's own names: those that `is_name` allows, ids, and fixed words",
        "Volumes._locked Volumes._make Volumes.names Volumes.release Volumes.remove Volumes.sweep Volumes.users "
        "_touch",
    ),
    "images.archive": (
        "a place that the user named",
        "_special _appearing prepare_place",
    ),
    "images.explore.content": (
        "names of its own in scratch space",
        "_HeldBack.note _HeldBack.open _HeldBack.__exit__",
    ),
    "images.explore.targets": (
        "a directory that the user named, and one of its own in there; names from images are opened by descriptor",
        "DirectoryTarget.__init__",
    ),
    "images.copy.directory_end": (
        "a directory that the user named; names in it are digests and fixed words",
        "DirectoryTarget.__enter__",
    ),
    "images.copy.files_end": (
        "a directory that the user named; names in it are digests and fixed words",
        "size_of",
    ),
    "images.copy.layout_end": (
        "a directory that the user named; names in it are digests and fixed words",
        "LayoutTarget.__enter__ LayoutTarget._place_of",
    ),
    "images.oci_layout": (
        "a place that the user named; names in it are digests",
        "write_directory held",
    ),
    "images.prune": (
        "the store's own names",
        "_arrived only_prune",
    ),
    "images.warm": (
        "a directory that the user named; names in it are digests",
        "warm_image _Layout.open _is_there",
    ),
    "builder.output.rootfs": (
        "a place that the user named; sources are files of trees in the store, looked at only",
        "write_directory _is_socket",
    ),
    "layer.apply": (
        "the source of a link: a file of a tree in the store that nobody writes to",
        "_Applier._link",
    ),
    "layer.attributes": (
        "given a descriptor, or its name in /proc/self/fd",
        "set_xattr make_xattr_whiteout get_xattr",
    ),
    "layer.confined": (
        "staged by the store, made by nobody else",
        "Confined.unpack unpack_confined _serve _unpack",
    ),
    "layer.index": (
        "named by the store",
        "open_index",
    ),
    "layer.scan": (
        "looks only; at trees that no command runs in, along names that were listed without following links",
        "_iter_upper _list _read_entry layer_xattrs read_entry _scan _put",
    ),
    "layer.view": (
        "looks only; at trees that no command runs in, no part of a path being a link",
        "DirectoryView.lstat DirectoryView.iterdir DirectoryView._is_real DiffTree.lookup DiffTree.children",
    ),
    "rootfs.directory": (
        "scratch space",
        "DirectoryRootfs.open DirectoryRootfs._take",
    ),
    "rootfs.flat": (
        "a tree in which no command runs now; along names that were listed without following links",
        "FlatTree.capture FlatTree._take_apart FlatTree._clear_folder FlatTree._has_xattrs FlatTree._allowed",
    ),
    "rootfs.inplace": (
        "firkin's own directory, and the container's files that are put aside before the first step",
        "_Withheld.__init__ _Withheld.put_back InplaceRootfs.open InplaceRootfs.capture InplaceRootfs._begin "
        "InplaceRootfs._check_conflict InplaceRootfs._list_own",
    ),
    "rootfs.links": (
        "looks only; at trees that no command runs in",
        "Links.apart _is_linked",
    ),
    "rootfs.overlay": (
        "scratch space; the upper directory after all processes of the command have ended, by names that "
        "were looked at",
        "OverlayRoot.seal OverlayRootfs.open drop_stubs",
    ),
    "store.journal": (
        "the journal of the store, by fixed names",
        "write_line _open_locked",
    ),
    "sandbox.init.carry": (
        "given a name in /proc/self/fd",
        "copy_looks empty",
    ),
    "sandbox.chroot": (
        "`/` itself",
        "_wait_for_turn",
    ),
    "sandbox.init.confine": (
        "`/` itself, and the root's own place in the store",
        "allow_everywhere enter_root",
    ),
    "sandbox.init.emulated_mounts": (
        "scratch space; what lies in the root goes through `image_root`",
        "EmulatedMounts.op_root EmulatedMounts.op_devices EmulatedMounts.make_device EmulatedMounts.op_text EmulatedMounts.op_file "
        "EmulatedMounts.op_empty EmulatedMounts.op_keep EmulatedMounts.op_socket EmulatedMounts.relay",
    ),
    "sandbox.init.mount_calls": (
        "firkin's own places before pivot_root",
        "open_beneath overlay.short overlay_before_6_5.short",
    ),
    "sandbox.init.real_mounts": (
        "firkin's own places before pivot_root, and the root's descriptor; places of the image go "
        "through `image_root`",
        "RealMounts.op_mkdir RealMounts.op_stub RealMounts.op_stub_file RealMounts.op_files RealMounts.op_nodes "
        "make_node RealMounts.op_bind RealMounts.op_bind_layers RealMounts.op_owners copy_attributes",
    ),
    "sandbox.init.container_mounts": (
        "the machine's devices, what the user mounts from it, and firkin's own places, before pivot_root; descriptors, "
        "and / itself, after it",
        "ContainerMounts.__init__ ContainerMounts.device ContainerMounts.node ContainerMounts.op_hold_nulls "
        "ContainerMounts.op_overlay ContainerMounts.op_stub_link ContainerMounts.op_take check_propagation devices_in "
        "ContainerMounts.op_sysctls ContainerMounts.protected",
    ),
    "sandbox.init.contain": (
        "the machine's null device before pivot_root; own files of /proc, and names beneath descriptors that were "
        "checked, after it",
        "take_descriptors open_terminal read_plain write_oom_score write_apparmor borrow_shm",
    ),
    "sandbox.init.image_root": (
        "firkin's own places before pivot_root; the working directory, in the command's own root",
        "make_all",
    ),
    "sandbox.init.command": (
        "the working directory, in the command's own root",
        "change_directory",
    ),
    "sandbox.init.supervisor": (
        "/proc, by numbers of processes",
        "kill_children parent_of",
    ),
    "sandbox.launcher": (
        "/dev/null",
        "_become",
    ),
    "sandbox.init.listener": (
        "/proc of a process that waits in the listener",
        "read_memory read_text",
    ),
    "sandbox.namespaces": (
        "scratch space",
        "_read_owners",
    ),
    "sandbox.init.owners": (
        "/proc of a process that waits in the listener, resolved as that process would; the upper "
        "directory, looked at only",
        "Notes.__init__ Notes.open_target Notes.walk Notes.write Notes.owner was_there",
    ),
    "sandbox.mount_copies": (
        "scratch space, and files of /proc",
        "_prepare _copy read_proc_files",
    ),
    "builder.solve.session": (
        "the machine's /etc/resolv.conf",
        "_resolv_conf",
    ),
    "builder.solve.cache_mounts": (
        "named by the store: digests and numbers; opened without following links",
        "CacheMounts.open CacheMounts._lock CacheMounts._make CacheMounts._first_number CacheMounts._numbers "
        "CacheMounts._remove_unused",
    ),
    "builder.solve.saved_mounts": (
        "named by the store: digests and numbers; only real directories",
        "restore_mount save_mount _size",
    ),
    "builder.copy.content": (
        "what a view gave: a file of a tree in the store, of scratch space or of the user's context, "
        "opened without following links",
        "_digest",
    ),
    "content.fetch": (
        "a directory that the user named; names in it are digests",
        "OriginFetcher._near",
    ),
    "builder.solve.inplace": (
        "scratch space",
        "_EitherRootfs.open",
    ),
    "content.indexes": (
        "named by the store",
        "LayerIndexes.ensure LayerIndexes.keep",
    ),
    "content.trees": (
        "staged by the store, or one of its trees",
        "_take_attributes",
    ),
    "builder.solve.inputs": (
        "scratch space",
        "copy_subtree",
    ),
    "builder.solve.ops.run": (
        "staged by the store",
        "run _keep_attributes _keep_mount_points",
    ),
    "builder.solve.ops.run_mounts": (
        "scratch space",
        "RunMounts._empty_directory",
    ),
    "builder.solve.ops.run_failure": (
        "/proc of this process; what a view gave, opened without following links",
        "_last_id _start",
    ),
    "builder.solve.selection": (
        "looks only; at trees that no command runs in",
        "_touching _opaque",
    ),
    "builder.solve.ssh": (
        "the agent's socket, which the user named; scratch space",
        "_is_socket _KeyServer.start forward _give _at",
    ),
    "builder.solve.view_files": (
        "what a view gave, opened without following links",
        "read_content",
    ),
    "store.blobs": (
        "named by digests",
        "BlobWriter.__init__ BlobWriter.reopen BlobWriter.commit BlobWriter.abort Blobs.size Blobs.open Blobs.put",
    ),
    "store.boot": (
        "the store's own names",
        "read_boot_id _read _remove_doubtful _is_whole",
    ),
    "store.database": (
        "the store's own names",
        "_is_missing Database._make_database Database._failed",
    ),
    "store.digests": (
        "named by digests",
        "StoredDigests._load",
    ),
    "store.facts": (
        "named by digests",
        "Documents._stamp",
    ),
    "store.freeing": (
        "named by digests",
        "_remove",
    ),
    "store.gc": (
        "the store's own names",
        "_remove_layers",
    ),
    "store.images": (
        "the store's own names",
        "Images.entries Images._read Images._used",
    ),
    "store.layout": (
        "the store's own names",
        "give_up_reserve is_full spread StoreLayout._remove_scratch StoreLayout.ensure_directories StoreLayout._version "
        "StoreLayout.set_aside _convert_1 "
        "StoreLayout._take_scratch StoreLayout._sweep check_owner _owner locked write_atomically",
    ),
    "store.leftovers": (
        "the store's own names",
        "remove_mounts remove_downloads _unused remove_orphan_trees _remove_orphan_tree _old_blobs _status unlink",
    ),
    "store.mounts": (
        "the store's own names; looks without following links",
        "is_sound stage_mount",
    ),
    "store.partial": (
        "named by a digest, which is hex digits; only the store's user writes there",
        "PartialBlob.commit _open _remove_unlocked _unlink open_partial tidy_partials",
    ),
    "store.references": (
        "the store's own names, and hashes of others",
        "_of_processes drop registered _is_lost",
    ),
    "store.trees": (
        "named by keys and chain ids",
        "StagedTree.__init__ StagedTree.write_index StagedTree.mark_root_changed StagedTree.seal",
    ),
    "sandbox.init.kernel": (
        "/proc/self of a process that has entered no container yet",
        "find_arguments",
    ),
    "store.usage": (
        "looks only, without following links",
        "disk_size _names",
    ),
}


class _Paths(ast.NodeVisitor):
    """Collects functions that call the kernel with something that is not said to be a descriptor."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._inside: list[str] = []

    def _enter(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        self._inside.append(node.name)
        self.generic_visit(node)
        self._inside.pop()

    visit_FunctionDef = visit_ClassDef = _enter

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func)
        if (called.startswith("os.") and called[3:] in CALLS) or called in OTHERS:
            first = ast.unparse(node.args[0]) if node.args else ""
            by_descriptor = first.endswith(("fd", "descriptor")) or first.isdigit()
            if not by_descriptor and not DIRECTORY_FD.intersection(word.arg for word in node.keywords):
                self.found.add(".".join(self._inside))
        self.generic_visit(node)


def paths() -> Iterator[tuple[str, str]]:
    """Yield module and function of each place that hands the kernel a path."""
    for room in ROOMS:
        for file in sorted((SOURCE / room).rglob("*.py")):
            visitor = _Paths()
            visitor.visit(ast.parse(file.read_text()))
            module = ".".join(file.relative_to(SOURCE).with_suffix("").parts)
            yield from ((module, function) for function in sorted(visitor.found))


def test_paths_from_outside_go_through_a_root() -> None:
    known = {(module, function) for module, (_, functions) in PATHS.items() for function in functions.split()}
    found = set(paths())
    assert found - known == set(), "reach it beneath a root, or say here why nobody outside can choose the path"
    assert known - found == set(), "these rows have nothing to excuse"


def test_every_row_has_a_reason() -> None:
    assert [module for module, (reason, functions) in PATHS.items() if len(reason) < 8 or not functions] == []
