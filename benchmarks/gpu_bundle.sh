# A bundle: the programs that run_gpu.sh runs, for a machine that has a GPU, Python with PyTorch, and none of the packages that they
# were built with. Both of its ends, which run_gpu.sh sources: pack_bundle at home, enter_bundle there. It looks like the repository,
# with programs in bin and benchmarks, what they are linked with in lib, and a file BUNDLE, which is the version of PyTorch that they need.

# In a wheel of PyTorch, whose directory is given.
torch_version() { sed -n "s/^__version__ = '\(.*\)'/\1/p" "$1/version.py"; }

# The libraries that programs are linked with, but for those of glibc and GCC, which every machine has, and what lies beside LibTorch.
own_libraries() {  # SITE-PACKAGES PROGRAM...
  local site=$1 everywhere='^(ld-linux-x86-64|libc|libm|libmvec|libdl|librt|libpthread|libutil|libgcc_s|libstdc[+][+]|libgomp)[.]so'
  shift
  ldd "$@" | awk -v site="$site/" -v everywhere="$everywhere" '$2 == "=>" && $1 !~ everywhere && index($3, site) != 1 {print $3}' | sort -u
}

pack_bundle() (  # BUILD ARCHIVE BASELINES PROGRAM..., the programs and an archive of them, relative to the build; in a shell of its own
  set -euo pipefail
  build=$1 archive=$2 baselines=$3
  shift 3
  torch=$(ldd "$build/bin/vpd" | awk '$1 == "libtorch_cpu.so" {print $3}')
  torch=${torch%/lib/*}
  if [[ ! -e $torch/version.py ]]; then
    echo "run_gpu.sh: expected a build against the LibTorch of a wheel of PyTorch, which the other machine has, too; found the one in $torch" >&2
    exit 1
  fi
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  root=$scratch/vpd-gpu
  mkdir -p "$root"/{bin,benchmarks,lib,tests}
  for program in "$@"; do
    strip -o "$root/$program" "$build/$program"
  done
  own_libraries "${torch%/*}" "${@/#/$root/}" | xargs -I{} cp -L {} "$root/lib"
  cp -r configs "$root"
  cp -r tests/data "$root/tests"
  cp benchmarks/{run_gpu.sh,gpu_bundle.sh,compare.py} "$root/benchmarks"
  [[ -z $baselines ]] || cp -r "$baselines" "$root/baselines"
  torch_version "$torch" > "$root/BUNDLE"
  mkdir -p "$(dirname "$archive")"
  tar -C "$scratch" -czf "$archive" vpd-gpu
)

# Lets programs find their libraries, or says which are not there.
enter_bundle() {  # ROOT PYTHON PROGRAM...
  local root=$1 python=$2 torch wanted found directory missing
  shift 2
  wanted=$(< "$root/BUNDLE")
  torch=$("$python" -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")')
  if [[ -z $torch ]]; then
    echo "run_gpu.sh: this bundle needs PyTorch $wanted, and $python has none: install it, or name a Python that has it with --python" >&2
    return 1
  fi
  found=$(torch_version "$torch")
  if [[ $found != "$wanted" ]]; then
    echo "run_gpu.sh: this bundle needs PyTorch $wanted, and $python has $found, in $torch: install the other, or build a bundle with this one" >&2
    return 1
  fi
  # Nothing that was there before: a CUDA toolkit's cuDNN does not work together with parts of PyTorch's own.
  export LD_LIBRARY_PATH="$root/lib:$torch/lib"
  for directory in "${torch%/*}"/nvidia/cu[0-9]*/lib; do
    LD_LIBRARY_PATH+=":$directory"
  done
  missing=$(ldd "${@/#/$root/}" 2>&1 | grep 'not found' | sort -u)
  if [[ -n $missing ]]; then
    printf 'run_gpu.sh: the programs of this bundle do not find what they need on this machine:\n%s\n' "$missing" >&2
    return 1
  fi
}
