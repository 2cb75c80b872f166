// Implements inode.h.
#include "fusefs/tree/inode.h"

#include <new>

namespace troot::fusefs {

void LayerList::push_back(std::uint16_t layer) {
  if (count_ < kInline) {
    near_[count_] = layer;
  } else {
    if (!far_) far_ = std::make_unique<std::vector<std::uint16_t>>();
    far_->push_back(layer);
  }
  ++count_;
}

void LayerList::push_front(std::uint16_t layer) {
  LayerList longer;
  longer.push_back(layer);
  for (std::size_t i = 0; i < count_; ++i) longer.push_back((*this)[i]);
  *this = std::move(longer);
}

void LayerList::shift() {
  for (std::size_t i = 0; i < count_ && i < kInline; ++i) ++near_[i];
  for (std::size_t i = kInline; i < count_; ++i) ++(*far_)[i - kInline];
}

InodeTable::InodeTable()
    : chunks_(
          static_cast<std::atomic<Chunk*>*>(std::calloc(kMaxChunks, sizeof(std::atomic<Chunk*>)))) {
  if (!chunks_) throw std::bad_alloc();
}

InodeTable::~InodeTable() {
  for (std::uint32_t i = 0; i < kMaxChunks; ++i) {
    Chunk* chunk = chunks_[i].load(std::memory_order_relaxed);
    if (chunk == nullptr) break;
    for (Inode& inode : *chunk) {
      if (inode.refs.load(std::memory_order_relaxed) != 0) free(&inode);
    }
    delete chunk;
  }
}

Inode* InodeTable::allocate() {
  std::uint32_t slot = 0;
  {
    MutexLock lock(mutex_);
    if (free_ != 0) {
      slot = free_;
      free_ = static_cast<std::uint32_t>(at(slot).ino);
    } else {
      slot = next_;
      if ((slot >> kChunkBits) >= kMaxChunks) throw std::bad_alloc();
      std::atomic<Chunk*>& chunk = chunks_[slot >> kChunkBits];
      if (chunk.load(std::memory_order_relaxed) == nullptr)
        chunk.store(new Chunk, std::memory_order_release);
      ++next_;
    }
  }
  Inode& inode = at(slot);
  inode.ino = 0;
  inode.slot = slot;
  live_.fetch_add(1, std::memory_order_relaxed);
  return &inode;
}

void InodeTable::free(Inode* inode) noexcept {
  if (inode->is_dir()) {
    delete inode->dir;
  } else {
    delete inode->file.load(std::memory_order_relaxed);
  }
  if (inode->has(Inode::kDetached)) free_name(inode->name);
  inode->name = nullptr;
  inode->parent = nullptr;
  inode->dir = nullptr;
  inode->flags.store(0, std::memory_order_relaxed);
  inode->layer.store(0, std::memory_order_relaxed);
  inode->type = 0;
  inode->refs.store(0, std::memory_order_relaxed);
  // The generation makes the next id of this slot a new one: node ids are never used twice.
  ++inode->generation;
  live_.fetch_sub(1, std::memory_order_relaxed);
  MutexLock lock(mutex_);
  inode->ino = free_;
  free_ = inode->slot;
}

Inode& InodeTable::at(std::uint32_t slot) const noexcept {
  return (*chunks_[slot >> kChunkBits].load(std::memory_order_acquire))[slot & (kChunkSize - 1)];
}

Inode* InodeTable::find(NodeId id) const noexcept {
  const auto slot = static_cast<std::uint32_t>(id);
  if ((slot >> kChunkBits) >= kMaxChunks) return nullptr;
  Chunk* chunk = chunks_[slot >> kChunkBits].load(std::memory_order_acquire);
  if (chunk == nullptr) return nullptr;
  Inode& inode = (*chunk)[slot & (kChunkSize - 1)];
  if (inode.generation != static_cast<std::uint32_t>(id >> 32)) return nullptr;
  return inode.refs.load(std::memory_order_acquire) == 0 ? nullptr : &inode;
}

FileData& file_data(Inode* inode) {
  if (FileData* data = inode->file.load(std::memory_order_acquire)) return *data;
  auto* fresh = new FileData;
  FileData* none = nullptr;
  if (inode->file.compare_exchange_strong(none, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *none;
}

SmallMutex& account_lock(Inode* inode) {
  return inode->is_dir() ? inode->dir->charge : file_data(inode).io;
}

}  // namespace troot::fusefs
