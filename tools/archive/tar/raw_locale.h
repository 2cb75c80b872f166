// The locale in which libarchive is called. Reading in a UTF-8 locale it composes names (NFC), so
// that two different names of an archive could become one; in "C" it leaves their bytes alone.
#pragma once

#include <locale.h>

namespace troot::archive {

/// Sets the calling thread's locale for a scope.
class LocaleScope {
 public:
  /// Null: the locale stays as it is.
  explicit LocaleScope(locale_t locale) : before_(::uselocale(locale)) {}
  ~LocaleScope() { ::uselocale(before_); }
  LocaleScope(const LocaleScope&) = delete;
  LocaleScope& operator=(const LocaleScope&) = delete;

 private:
  locale_t before_;
};

/// Made once, never freed. Null where the system has none.
[[nodiscard]] inline locale_t reading_locale() {
  static const locale_t locale = ::newlocale(LC_ALL_MASK, "C", locale_t{});
  return locale;
}
/// Names are written as UTF-8, as the pax format has them, where they are.
[[nodiscard]] inline locale_t writing_locale() {
  static const locale_t locale = ::newlocale(LC_ALL_MASK, "C.UTF-8", locale_t{});
  return locale;
}

}  // namespace troot::archive
