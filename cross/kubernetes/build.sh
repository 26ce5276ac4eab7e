#!/bin/bash
# Compiles the Kubernetes programs that the tests run against: build.sh WORK OUT
#
# WORK holds kubernetes_*.orig.tar.gz of Debian's source package and, below root/, the unpacked Debian packages of Go and of
# reflect2. OUT gets the programs. Nothing outside of both is written, and nothing is downloaded.
set -euo pipefail
work=$(realpath "$1")
out=$(realpath "$2")

cd "$work"
tar xzf kubernetes_*.orig.tar.gz
tree=$(realpath kubernetes-*/)

# The vendored reflect2 1.0.1 reads maps in a way that Go 1.18 and later do not stand: the server dies while it serves JSON.
rm -rf "$tree/vendor/github.com/modern-go/reflect2"
cp -r root/usr/share/gocode/src/github.com/modern-go/reflect2 "$tree/vendor/github.com/modern-go/"

export GOROOT="$work/root/usr/lib/go-1.19" GOPATH="$work/gopath" GOCACHE="$work/gocache"
export GO111MODULE=off CGO_ENABLED=0 GOFLAGS= GOOS= GOARCH= GOAMD64=v1 GOTMPDIR= GOENV=off
export PATH="$GOROOT/bin:$PATH"
mkdir -p "$GOPATH/src/k8s.io"
ln -s "$tree" "$GOPATH/src/k8s.io/kubernetes"
cd "$GOPATH/src/k8s.io/kubernetes"

# The tarball lacks what upstream generates from the comments of its types.
go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
packages=$(
    {
        grep -Rl '+k8s:openapi-gen=' --include='*.go' vendor/k8s.io/
        grep -rl '+k8s:openapi-gen=' --include='*.go' pkg cmd plugin
    } | grep -v -e code-generator/ -e sample-apiserver/ -e kube-openapi/ -e _test.go -e /gengo/ -e _examples \
        | xargs -n1 dirname | LC_ALL=C sort -u | sed 's,^,k8s.io/kubernetes/,' | paste -sd,
)
"$work/openapi-gen" --logtostderr -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
    -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$work/violations"
cmp <(sort "$work/violations") <(sort api/api-rules/violation_exceptions.list)

flags="-s -w"
for package in component-base/version client-go/pkg/version; do
    package=k8s.io/kubernetes/vendor/k8s.io/$package
    flags+=" -X $package.gitVersion=v1.20.2 -X $package.gitMajor=1 -X $package.gitMinor=20"
    flags+=" -X $package.gitTreeState=archive -X $package.buildDate=2021-01-13T13:20:00Z"
done
for program in kube-apiserver kube-controller-manager kube-scheduler kubelet; do
    go build -p 2 -tags providerless,dockerless -trimpath -ldflags "$flags" -o "$out/$program" "./cmd/$program"
    echo "$program: $(stat -c %s "$out/$program") bytes"
done
