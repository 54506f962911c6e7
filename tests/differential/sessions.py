"""What is compared with docker: sessions of its commands, and the differences that are meant. Pure."""

from __future__ import annotations

from differential.container_sessions import CONTAINERS
from differential.parity import Step


def _steps(text: str, **options: str) -> tuple[Step, ...]:
    return tuple(Step(line.strip(), **options) for line in text.strip().splitlines())  # type: ignore[arg-type]


PULL = (
    *_steps("""
        pull -q {registry}/app:1
        image pull --quiet {registry}/app:1
        pull --platform linux/amd64 -q {registry}/app:1
    """),
    Step("pull {registry}/app:1"),
    Step("pull {registry}/app:missing", says="manifest unknown"),
    Step("pull {registry}/nothing/here", says="manifest unknown"),
    Step("pull UPPER/Case", says="must be lowercase"),
    Step("pull"),
    Step("pull --bogus x", says="--bogus"),
    Step("pull -a {registry}/app:1", says="tag can't be used with --all-tags/-a"),
    Step("pull -q -a {registry}/app"),
    Step("pull -q {registry}/other:1"),
    Step("pull -q {registry}/multi:1"),
)

LIST = (
    *_steps("""
        images
        image ls
        image list
        images --no-trunc
        images --digests
        images -a
        images {registry}/app
        images {registry}/app:2
        images nothing
        images {registry}/a*
        images --format '{{.Repository}}:{{.Tag}} {{.ID}}'
        images --format 'table {{.Repository}}\\t{{.Size}}'
        images --format '{{json .Repository}} {{.Digest}} {{.Size}}'
        images --format '{{if eq .Tag "1"}}one{{else}}{{.Tag}}{{end}} {{upper .Repository}} {{len .ID}}'
        images -q --no-trunc --format '{{.ID}}' {registry}/app:2
    """, form="columns"),
    *_steps("""
        images -q
        images -qa
        images -q --no-trunc
        images -f dangling=true -q
        images -f dangling=false -q
        images -f label=colour=red -q
        images -f label=colour -q
        images --filter=label=nothing -q
        images --filter reference={registry}/app:* -q
        images --filter before={registry}/other:1 -q
        images --filter since={registry}/app:1 -q
    """, form="lines"),
    Step("images -f bogus=1", says="nvalid filter"),
    Step("images -f before=nothing", says="o such image"),
    Step("images a b"),
    Step("images --format '{{.Nothing}}'", says="template"),
    Step("images --format '{{'", says="template"),
)

LOOK = (
    Step("inspect {registry}/app:1 --format '{{.Id}} {{.Architecture}} {{.Os}} {{.Size}}'"),
    Step("image inspect -f '{{json .Config.Env}} {{json .Config.Labels}} {{.Config.WorkingDir}}' {registry}/app:1"),
    Step("image inspect -f '{{json .RootFS}}' {registry}/app:1"),
    Step("image inspect -f '{{json .RepoTags}}{{json .RepoDigests}}' {registry}/app:2"),
    Step("image inspect -f '{{.Created}} {{.Author}} {{.Comment}}' {registry}/app:1"),
    Step("image inspect -f '{{range .RepoTags}}{{println .}}{{end}}' {registry}/app:1 {registry}/other:1"),
    Step("image inspect -f '{{index .Config.Labels \"colour\"}}|{{join .Config.Cmd \",\"}}' {registry}/app:1"),
    Step("image inspect nothing", says="No such image"),
    Step("inspect nothing", says="No such"),
    Step("image inspect nothing {registry}/app:1 -f '{{.Id}}'", says="No such image"),
    Step("image inspect -f '{{.Nothing}}' {registry}/app:1"),
    Step("image inspect"),
    Step("history {registry}/app:1", form="columns"),
    Step("image history -q {registry}/app:1"),
    Step("history --no-trunc --format '{{.ID}}|{{.CreatedBy}}|{{.Size}}|{{.Comment}}' {registry}/app:1"),
    Step("history -H=false --format '{{.Size}}' {registry}/app:1"),
    Step("history nothing", says="o such image"),
)

NAMES = (
    Step("tag {registry}/app:1 mine:a"),
    Step("image tag {registry}/app:1 mine:b"),
    Step("tag mine:a deep/er/name"),
    Step("tag nothing mine:c", says="o such image"),
    Step("tag mine:a BAD:NAME", says="lowercase"),
    Step("tag mine:a"),
    Step("tag mine:a mine:b@sha256:" + "0" * 64, says="refusing to create a tag with a digest reference"),
    Step("images mine", form="columns"),
    Step("tag {registry}/other:1 mine:b"),
    Step("images mine", form="columns"),
    Step("images --filter reference=mine --format '{{.Tag}}'", form="lines"),
)

SAVE = (
    Step("save -o app.tar {registry}/app:1 mine:a"),
    Step("save mine:b", keep="b.tar"),
    Step("image save --output none.tar nothing", says="o such image"),
    Step("save"),
    Step("rmi mine:b"),
    Step("load -i b.tar"),
    Step("load", feed="b.tar"),
    Step("image load -q --input app.tar", form="lines"),
    Step("load -i missing.tar", says="no such file"),
    Step("load -i text.txt"),
    Step("import rootfs.tar imported:1", form="none"),
    Step("import -c 'ENV A=b' -c 'CMD [\"sh\"]' -m note - imported:2", feed="rootfs.tar", form="none"),
    Step("inspect -f '{{json .Config.Env}}{{json .Config.Cmd}}{{.Comment}}{{.Architecture}}{{len .RootFS.Layers}}' imported:2"),
    Step("image import --change 'RUN x' rootfs.tar imported:3", says="is not a valid change command"),
    Step("history --format '{{.Comment}}|{{.Size}}|{{.CreatedBy}}' imported:2"),
    Step("images imported --format '{{.Repository}}:{{.Tag}} {{.Size}}'", form="lines"),
)

PUSH = (
    Step("tag {registry}/app:1 {registry}/pushed:1"),
    Step("tag {registry}/app:2 {registry}/pushed:2"),
    Step("push -q {registry}/pushed:1"),
    Step("push -a -q {registry}/pushed"),
    Step("push {registry}/pushed:nothing", says="does not exist"),
    Step("push"),
    Step("image inspect -f '{{json .RepoDigests}}' {registry}/pushed:1", form="json"),
)

MANIFEST = (
    Step("manifest inspect --insecure {registry}/app:1"),
    Step("manifest inspect --insecure {registry}/multi:1", form="json"),
    Step("manifest create --insecure {registry}/list:1 {registry}/app:1 {registry}/other:1"),
    Step("manifest create --insecure {registry}/list:1 {registry}/app:1", says="refusing to amend an existing manifest list"),
    Step("manifest create --insecure -a {registry}/list:1 {registry}/app:2"),
    Step("manifest annotate --os linux --arch arm64 --variant v8 {registry}/list:1 {registry}/other:1"),
    Step("manifest annotate --arch arm {registry}/list:1 {registry}/app:2"),
    Step("manifest annotate --arch arm {registry}/list:1 {registry}/app:none", says="does not exist"),
    Step("manifest inspect {registry}/list:1", form="json"),
    Step("manifest push --insecure --purge {registry}/list:1"),
    Step("manifest rm {registry}/list:1", says="No such manifest"),
    Step("manifest inspect --insecure {registry}/list:1", form="json"),
    Step("manifest inspect --insecure {registry}/list:none", says="o such manifest"),
)

REMOVE = (
    Step("rmi mine:a"),
    Step("image rm deep/er/name"),
    Step("rmi nothing", says="o such image"),
    Step("rmi -f nothing", says="o such image"),
    Step("rmi nothing mine:b"),
    Step("rmi {registry}/pushed:1 {registry}/pushed:2", form="lines"),
    Step("rmi imported:1", form="none"),
    Step("image remove --no-prune imported:2", form="none"),
    Step("rmi"),
    Step("images --format '{{.Repository}}:{{.Tag}}'", form="lines"),
)

PRUNE = (
    Step("image prune -f", form="lines"),
    Step("image prune -f --filter bogus=1", says="nvalid filter"),
    Step("image prune --force --filter until=1h", form="lines"),
    Step("image prune -a -f --filter label=colour=red", form="lines"),
    Step("images --format '{{.Repository}}:{{.Tag}}'", form="lines"),
    Step("system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'"),
    Step("system df --format '{{.Size}}|{{.Reclaimable}}'"),
    Step("system df", form="columns"),
    Step("system df -v --format '{{range .Images}}{{.Repository}} {{.Containers}}{{end}}'"),
    Step("system prune -f", form="lines"),
    Step("system prune -a -f --filter until=24h", form="lines"),
    Step("image prune -af", form="lines"),
    Step("images", form="columns"),
    Step("system prune -f --volumes --filter until=1h", says="is not supported with"),
    Step("builder prune -f", form="none"),
)

SYSTEM = (
    Step("system events --since 2000-01-01 --until 2000-01-02"),
    Step("info --format '{{.OSType}} {{.NCPU}}'"),
    Step("system info -f '{{.Images}}'"),
    Step("version --format '{{.Server.Os}}/{{.Server.Arch}}'"),
    Step("version", form="none"),
    Step("info", form="none"),
    Step("image", form="none"),
    Step("system", form="none"),
    Step("image --help", form="none"),
    Step("image bogus", form="none"),
    Step("bogus"),
    Step("--version", form="none"),
    Step("images --bogus", says="--bogus"),
    Step("images -Z", says="Z"),
    Step("logout", form="none"),
    Step("logout nowhere.example"),
    Step("login -u a nowhere.example", says="TTY"),
    Step("login --password-stdin nowhere.example", says="username"),
)

BUILD = (
    Step("image build -q -t built:1 context", form="none"),
    Step("build -t built:2 context", form="none"),
    Step("inspect -f '{{json .Config.Env}} {{json .Config.Cmd}}' built:1"),
    Step("image build nowhere", form="none"),
    Step("rmi -f built:1 built:2", form="none"),
)

SESSION = (*PULL, *LIST, *LOOK, *NAMES, *SAVE, *PUSH, *MANIFEST, *REMOVE, *BUILD, *PRUNE, *SYSTEM, *CONTAINERS)

# A step that differs, and why that is meant. A reason that is not needed any more is an error, too.
_CACHE = "what was built before in the session stays in the build cache, until it is pruned"
_FREED = "the space is what was freed on the disk: firkin keeps layers compressed"
_PUSHED = "firkin pushes the manifest it has; this docker compresses again, and makes another one"
MEANT: dict[str, str] = {
    "image inspect -f '{{json .RepoDigests}}' {registry}/pushed:1": _PUSHED,
    "rmi {registry}/pushed:1 {registry}/pushed:2": _PUSHED,
    "image prune -a -f --filter label=colour=red": _FREED,
    "system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'": _CACHE,
    "system df --format '{{.Size}}|{{.Reclaimable}}'": _CACHE,
    "system df": _CACHE,
    "system prune -a -f --filter until=24h": "`until` counts from when an image came into the store, if that is later than "
    "when it was made: an image pulled a minute ago stays",
    "manifest push --insecure --purge {registry}/list:1": "this docker sends other bytes than it names, and the registry "
    "refuses its list; firkin's is taken",
    "manifest rm {registry}/list:1": "docker kept the list that it could not push",
    "system prune -f": _CACHE,
    "image prune -af": "the images that the step before left, and the space freed on the disk",
}
